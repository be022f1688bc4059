/**
 * The life of a session: it holds a data connection (a WebSocket, SSE read by `fetch`, long polls, or a
 * forever frame), remembers how far it has come in every channel, comes back by itself when the connection is
 * lost, and stays away when the session was ended on purpose. What an application calls is in `encke.js`,
 * which this is the ground of.
 */
import { Emitter } from './emitter.js';
import { endingOf, isOfChannels } from './ending.js';
import { environment } from './env.js';
import { asError, failure } from './error.js';
import { Link } from './link.js';
import { Memory } from './memory.js';
import { hasPosition, tellMessage } from './message.js';
import { listenToPage } from './page-events.js';
import { Pause } from './pause.js';
import { closedMs, pauseMs } from './pauses.js';
import { look as lookOnce } from './poll.js';
import { Positions, isOwn } from './positions.js';
import { queryOf } from './query.js';
import { Requests } from './requests.js';
import { defaultServer } from './server-address.js';
import { Tabs, canShare } from './tabs.js';
import { Token } from './token.js';
import { BLIND, TRANSPORTS, transportsOf } from './transports.js';

/**
 * A close is asked for less often: a page that leaves should not wait, and the server frees a silent session
 * by itself.
 */
const CLOSE_TRIES = 3;
/** A connection that held this long was a good one: the failure after it is the first in a row. */
const STABLE_MS = 5000;
/** What goes wrong is told to the `error` listeners. */
const told = () => {};

/** @typedef {import('./link.js').Ending} Ending */

export class Session extends Emitter {
  #options;
  #base;
  #env;
  /** @type {'idle' | 'connecting' | 'open' | 'waiting' | 'closed'} */
  #state = 'idle';
  /** @type {string | null} */
  #session = null;
  /**
   * What entitles a request without a token to end the session, by the session: a poll says it once in it.
   * @type {Record<string, string | undefined>}
   */
  #closeKeys = {};
  #token;
  #tokenTried = false;
  #requests;
  /** What the data connection follows. */
  #positions;
  /**
   * What this page follows, while its connection serves other tabs too.
   * @type {Positions | null}
   */
  #own = null;
  /** @type {Tabs | null} */
  #tabs = null;
  #memory;
  #transports;
  /** Which of the transports is in use or tried next. */
  #nth = 0;
  /** The current life of the data connection, over all its attempts. @type {{stopped: boolean} | null} */
  #run = null;
  /** What each data connection may ask of this. @type {import('./link.js').Host} */
  #host;
  /** The current data connection. @type {Link | null} */
  #link = null;
  /** Whether the one before was given up while its request was under way, which may arrive after the next. */
  #mayClash = false;
  #pause;
  /** @type {Promise<boolean> | null} */
  #closing = null;
  #hidden = false;
  /** How many connections in a row opened and then brought nothing, not even a heartbeat. */
  #mute = 0;
  /** @type {AbortController | null} */
  #listening = null;

  /** @param {import('../encke.d.ts').EnckeOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = options;
    this.#base = (options.url ?? defaultServer()).replace(/\/+$/, '');
    this.#env = environment(/** @type {any} */ (options).env);
    this.since = this.#env.now();
    this.#pause = new Pause(this.#env);
    this.#token = new Token(options);
    this.#requests = new Requests(this.#env, this.#base, this.#token, options.credentials);
    this.#positions = new Positions(options.channels);
    this.#memory = new Memory(this.#env, this.#base, options, this);
    this.#transports = transportsOf(options.transport);
    this.#host = {
      env: this.#env,
      holdS: options.holdS,
      requests: this.#requests,
      path: (path, more) => this.#dataPath(path, more),
      address: (path) => new URL(this.#base + path, this.#env.window?.location?.href),
      sleep: (ms) => this.#pause.wait(ms),
      take: (event) => this.#take(event),
    };
    const cursor = options.cursor ?? this.#memory.cursor;
    if (cursor) this.#adopt(cursor);
  }

  get state() {
    return this.#state;
  }

  get session() {
    return this.#session;
  }

  /** Where to go on, in all channels: good for a later `cursor` option. @returns {string | null} */
  get cursor() {
    return this.#page.cursor;
  }

  /** The transport in use or tried next. @returns {string} */
  get transport() {
    return this.#tabs?.transport ?? this.#transports[this.#nth];
  }

  /** The channels asked for, without the user's own. @returns {string[]} */
  get channels() {
    return this.#page.channels;
  }

  /**
   * The user as far as the token or the cursor tells. It is not verified here, and is only good for showing.
   * @returns {string | null}
   */
  get user() {
    return this.#token.subject ?? this.#options.user ?? this.#positions.user;
  }

  /** When the next attempt is made, while it waits for that; null otherwise. @type {number | null} */
  retryAt = null;

  /** Whether other tabs share the connection, and which of them holds it. */
  get shared() {
    return this.#tabs ? (this.#tabs.leads ? 'leads' : 'follows') : 'alone';
  }

  /** What this page follows. */
  get #page() {
    return this.#own ?? this.#positions;
  }

  /** Connects, and stays connected until `close()`, or until the server ends the session for good. */
  connect() {
    if (this.#closing) this.#closing.then(() => this.connect());
    else if (this.#isAway) this.#start();
  }

  /**
   * Comes back on purpose: after a close, or to replace a connection at once. The preferred transport gets
   * another chance.
   */
  reconnect() {
    if (this.#closing) return void this.#closing.then(() => this.reconnect());
    this.#stop();
    this.#nth = 0;
    this.#start();
  }

  /**
   * Ends the session on purpose. The request goes over a connection of its own, so it does not wait for the
   * held one. There is no coming back after it but `connect()` or `reconnect()`. Where other tabs share the
   * session, they go on with it.
   * @param {string} [reason]
   * @returns {Promise<boolean>} true when the server says that everything of the session is freed, or other
   * tabs go on with it; false when there was no session or no answer.
   */
  close(reason) {
    return (this.#closing ??= this.#closeOnPurpose(reason).finally(() => {
      this.#closing = null;
    }));
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  async subscribe(channels) {
    const giveUp = [this.#positions, this.#own].map((positions) => positions?.want(channels));
    try {
      const all = await this.#changeChannels('/v1/subscribe', channels);
      this.#own?.join(this.#positions.cursor);
      return all;
    } catch (error) {
      // A channel that the server refuses must not be asked for again by every reconnect. One that was
      // wanted before is not given up because another was refused.
      if (!(/** @type {any} */ (error).transient)) for (const undo of giveUp) undo?.();
      throw error;
    }
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  async unsubscribe(channels) {
    this.#own?.unwant(channels);
    return this.#leave(channels);
  }

  /** Unsubscribes from what no other tab follows. @param {string[]} channels */
  #leave(channels) {
    const left = channels.filter((channel) => !this.#tabs?.othersFollow(channel));
    this.#positions.unwant(left);
    return this.#changeChannels('/v1/unsubscribe', left);
  }

  /** Leaves what other tabs followed, unless this page does. @param {string[]} channels */
  #giveUp(channels) {
    this.#leave(channels.filter((channel) => !this.#own?.follows(channel))).catch(told);
  }

  /**
   * A control request. What it fails with in the end is told to the `error` listeners too.
   * @param {string} path
   * @param {() => unknown} [body] none for what is asked by GET
   * @param {number} [tries]
   * @returns {Promise<any>}
   */
  async control(path, body, tries) {
    try {
      return await this.#requests.control(path, body, (...question) => this.#link?.ask?.(...question), tries);
    } catch (error) {
      this.tell('error', error);
      throw error;
    }
  }

  /** Whether it is not connected, and will not be by itself. */
  get #isAway() {
    return this.#state === 'idle' || this.#state === 'closed';
  }

  #start() {
    const run = { stopped: false };
    this.#run = run;
    this.#hidden = this.#tokenTried = false;
    this.#listen();
    this.#setState('connecting');
    // A listener of the state may have stopped it already.
    if (!run.stopped) void this.#keepConnected(run);
  }

  /** Ends the data connection and its coming back, without a word to the server. */
  #stop() {
    if (this.#run) this.#run.stopped = true;
    this.#link?.end();
    this.#run = this.#link = null;
    this.#pause.end();
  }

  /** @param {{stopped: boolean}} run */
  async #keepConnected(run) {
    for (let failures = 0; !run.stopped; ) {
      const link = new Link(this.#host);
      let ending = await this.#receive(link);
      // A browser may not tell why it was refused. The same is asked for by a poll that does not wait, which
      // finds nothing when it is but the transport that is wrong.
      const isLast = this.#nth === this.#transports.length - 1;
      const isBlind = BLIND.includes(this.#transports[this.#nth]);
      if (ending.kind === 'unfit' && isLast && isBlind && !run.stopped)
        ending = (await this.#receive(new Link(this.#host), lookOnce)) ?? ending;
      if (ending.error?.status === 401 && !run.stopped) ending = await this.#renewToken(ending);
      if (run.stopped) return;
      const { kind, error, afterMs = 0 } = ending;
      if (kind === 'final') return this.#finish(ending);
      // While the session is being closed on purpose a lost connection stays lost; the answer to the close
      // ends this run.
      if (this.#closing) return;
      if (error) this.tell('error', error);
      // A listener may have started another run, whose transport is not for this one to choose.
      if (run.stopped) return;
      if (link.openedAt && this.#env.now() - link.openedAt >= STABLE_MS) failures = 0;
      if (kind !== 'pause') failures++;
      if (kind === 'unfit' && !isLast) {
        this.#nth++;
        failures = 1;
      }
      const wait = Math.max(kind === 'pause' ? 0 : pauseMs(failures, this.#env.random), afterMs);
      if (wait > 0) {
        this.#setState('waiting');
        // A pause that a listener has ended before it began would stand in the way of a later one.
        this.retryAt = this.#env.now() + wait;
        if (!run.stopped) await this.#pause.wait(wait);
        this.retryAt = null;
      }
      if (run.stopped || this.#closing) return;
      this.#setState('connecting');
    }
  }

  /**
   * Serves one data connection until it ends.
   * @template {Ending | undefined} T
   * @param {Link} link
   * @param {(link: Link) => Promise<T>} [transport]
   * @returns {Promise<T | Ending>}
   */
  async #receive(link, transport = /** @type {any} */ (TRANSPORTS[this.#transports[this.#nth]])) {
    const { signal } = link;
    this.#link = link;
    try {
      if (!this.#token.text) await this.#token.fetch();
      signal.throwIfAborted();
      this.#tabs ??= this.#share();
      if (this.#tabs && !this.#tabs.leads) return await this.#tabs.follow(link);
      await this.#tabs?.gather();
      signal.throwIfAborted();
      const ending = await transport(link);
      // What it was given up for counts more.
      signal.throwIfAborted();
      return ending;
    } catch (thrown) {
      return this.#judge(signal.aborted ? signal.reason : thrown, link);
    } finally {
      link.end();
      if (this.#link === link) this.#link = null;
    }
  }

  /** Joins the tabs that share a connection, if this page is one and says whose it is. */
  #share() {
    const subject = this.#token.subject ?? this.#options.user;
    const wanted = this.#options.share !== false && subject && this.#positions.opaque === null;
    if (!wanted || !canShare(this.#env.window)) return null;
    const key = ['encke', this.#base, subject, this.#token.grants, this.#transports].join(' ');
    return new Tabs(this.#env, key, {
      place: () => this.#positions.begin(),
      follows: (channel) => this.#positions.follows(channel),
      lead: () => (this.#own = this.#positions.copy()),
      now: () => this.#place(this.#state === 'open' ? 'open' : 'state'),
      session: () => this.#session,
      joined: (cursor, channels) => this.#joined(cursor, channels),
      subscribe: (channels) => this.#subscribeOthers(channels),
      left: (channels) => this.#giveUp(channels),
    });
  }

  /**
   * Another tab follows these from there on. What came since is asked for anew, which this page passes over.
   * @param {string | null} cursor @param {string[]} channels
   * @returns {string[]} those of the channels that are still to be subscribed
   */
  #joined(cursor, channels) {
    const { behind, added } = this.#positions.merge(cursor, channels);
    // Before it connects, whatever is said counts from the beginning.
    if (behind && !this.#tabs?.gathers) this.#lookAgain(true);
    return added;
  }

  /** Only what the server has granted is what further connections ask for. @param {string[]} channels */
  async #subscribeOthers(channels) {
    const refuse = this.#positions.expect(channels);
    await this.#askChannels('/v1/subscribe', channels).catch((error) => {
      refuse();
      throw error;
    });
    this.#positions.want(channels.filter((channel) => this.#tabs?.othersFollow(channel)));
  }

  /** Leaves the tabs that share a connection. @returns {boolean} whether another goes on with the session. */
  #part() {
    const goesOn = this.#tabs?.leave() ?? false;
    this.#positions = this.#page;
    this.#tabs = this.#own = null;
    return goesOn;
  }

  /** @param {unknown} thrown @param {Link} link @returns {Ending} */
  #judge(thrown, link) {
    const error = asError(thrown);
    const { code, status } = error;
    if (code === 'silent') {
      // Once is a network that went away; twice in a row is something that lets a beginning through and then
      // collects.
      this.#mute = link.heardAt > link.openedAt ? 0 : this.#mute + 1;
      return { kind: this.#mute < 2 ? 'lost' : 'unfit', error };
    }
    // It was closed, or another connection took it over, unless that was the one before this.
    if (status === 410 || (status === 409 && !this.#mayClash)) this.#session = null;
    if (status === 409) this.#mayClash = false;
    if (code === 'bad_cursor' && this.cursor !== null) {
      this.#forgetCursor();
      return { kind: 'lost', error };
    }
    return endingOf(error, this.#env.random);
  }

  /** The one place where the client becomes closed. @param {Omit<Ending, 'kind'>} ending */
  #finish({ code = '', reason = '', error }) {
    this.#stop();
    this.#listening?.abort();
    this.#listening = this.#session = null;
    this.#hidden = false;
    this.#memory.save();
    if (this.#state === 'closed') return;
    const close = { code, reason, reconnect: false };
    // What this page's own channels were refused for is not the others' end: one of them leads on.
    if (!isOfChannels(code)) this.#tabs?.tell({ event: 'close', ...close });
    this.#part();
    this.#setState('closed');
    if (error) this.tell('error', error);
    this.tell('close', close);
  }

  /** @param {string | undefined} reason @returns {Promise<boolean>} */
  async #closeOnPurpose(reason) {
    const session = this.#session;
    // Without a session there is nothing to free; the request that would have made one is given up.
    // Where other tabs share it, this one leaves it to them.
    const shared = this.#part();
    try {
      if (shared || session === null) return session !== null;
      return (await this.control('/v1/close', () => ({ session, reason }), CLOSE_TRIES)).closed === true;
    } catch {
      return false;
    } finally {
      this.#finish({ code: 'client', reason });
    }
  }

  /**
   * Takes in an event, whichever way it came: from the server, or from the tab that leads.
   * @param {any} event
   * @returns {Ending | void} how the connection has ended, if this was the end.
   */
  #take(event) {
    const { event: type, cursor, session, close_key: key, ...told } = event;
    switch (type) {
      case 'message':
        if (!hasPosition(event)) return this.tell('error', failure('bad_message'));
        // The position moves first, so that an `ack()` by the listener covers this message.
        return this.#passOn(event, (positions) => positions.pass(event));
      case 'gap':
        return this.#passOn(event, (positions) => positions.skip(event));
      case 'unsubscribed':
        // The token that the session goes on with does not grant it.
        return this.#passOn(event, (positions) => positions.drop(event.channel));
      case 'expiring': return void this.#refresh(told);
      case 'close': return this.#closed(told);
      case 'forget': return this.#forgetCursor();
    }
    if (session && type !== 'state') {
      this.#session = session;
      this.#closeKeys = { [session]: key ?? this.#closeKeys[session] };
    }
    if (cursor) this.#adopt(cursor);
    if (type === 'state') this.#setState(told.state);
    if (type === 'open') this.#opened();
  }

  #opened() {
    this.#tabs?.tell(this.#place('open'));
    this.#tokenTried = false;
    // The connection is told which channels were subscribed or unsubscribed while its request was under way.
    const { wanted, unwanted } = this.#positions.late();
    if (wanted.length) this.subscribe(wanted).catch(told);
    if (unwanted.length) this.unsubscribe(unwanted).catch(told);
    this.#setState('open');
    const { session, cursor, transport } = this;
    // A listener of the state may have given this connection up.
    if (this.#state === 'open') this.tell('open', { session, cursor, transport });
  }

  /** Where the connection is, as other tabs are told. @param {string} event */
  #place(event) {
    const { state, session, transport } = this;
    const close_key = this.#closeKeys[session ?? ''];
    return { event, state, session, close_key, cursor: this.#positions.cursor, transport };
  }

  /**
   * Hands on what came of a channel: to the other tabs, and to this page if it follows that.
   * @param {any} event
   * @param {(positions: Positions) => boolean | void} take takes it in; it was not wanted, or not new, if
   * that says `false`
   */
  #passOn(event, take) {
    if (take(this.#positions) === false) return;
    this.#tabs?.tell(event);
    const { event: type, ...told } = event;
    const { channel } = told;
    // A tab that led before this one may have followed it.
    if (type === 'message' && this.#own) this.#giveUp([channel]);
    if (this.#own && (!this.#own.follows(channel) || take(this.#own) === false)) return;
    if (isOwn(channel)) this.#memory.savePlace();
    this.#saveSoon();
    if (type === 'message') tellMessage(told, (...values) => this.tell(...values));
    else this.tell(type, told);
  }

  /** @param {any} told @returns {Ending} */
  #closed({ code = '', reason = '', reconnect, retry_ms: asked }) {
    // The one that was given up has arrived late. The session is still this client's.
    if (code === 'taken_over' && this.#mayClash) {
      this.#mayClash = false;
      return { kind: 'lost' };
    }
    if (reconnect !== true) {
      this.#session = null;
      return { kind: 'final', code, reason };
    }
    // A frame has become long. The session goes on, in the next one.
    if (code === 'recycle') return { kind: 'pause' };
    this.#session = null;
    const close = { code, reason, reconnect };
    this.#tabs?.tell({ event: 'close', ...close });
    this.tell('close', close);
    return { kind: 'pause', afterMs: closedMs(asked, this.#env.random) };
  }

  /** Takes over the positions of a cursor that the server gave. @param {string} text */
  #adopt(text) {
    if (this.#tabs && !this.#tabs.leads) this.#positions.join(text);
    else this.#positions.adopt(text);
    this.#own?.join(text);
    this.#saveSoon();
  }

  /**
   * The server does not accept the cursor, so it is not known what was missed; the application is told so for
   * each channel.
   */
  #forgetCursor() {
    // All of them first: a listener may connect anew, which asks for what is wanted by then, or unsubscribe
    // from a channel whose gap is still to be told.
    this.#tabs?.tell({ event: 'forget' });
    for (const [channel, at] of this.#positions.forget()) {
      if (this.#own && !this.#own.follows(channel)) continue;
      this.#own?.restart(channel);
      if (!this.#positions.unwanted.has(channel))
        this.tell('gap', { channel, from: at.offset + 1, to: null, reason: 'cursor' });
    }
    this.#saveSoon();
  }

  /**
   * A data connection's path, with the query that says where to go on.
   * @param {string} path
   * @param {Record<string, string | number>} [more]
   */
  #dataPath(path, more) {
    const { place } = this.#memory;
    if (place && this.#positions.opaque === null) this.#positions.join(place);
    const { cursor, channels } = this.#positions.begin();
    const list = channels.map((channel) => channel.replace(/[%,]/g, encodeURIComponent)).join(',');
    const form = this.#options.form === 'long' ? null : 'short';
    return path + queryOf({ form, ...more, cursor, session: this.#session, channels: list || null });
  }

  /** @param {string} path @param {string[]} channels @returns {Promise<string[]>} */
  async #changeChannels(path, channels) {
    // Without a session, the next connection brings what is wanted.
    if (this.#session === null || !channels.length) return this.channels;
    return this.#askChannels(path, channels).catch((error) => {
      // A new connection makes a session that has all channels.
      if (error.code === 'session_unknown') return this.channels;
      throw error;
    });
  }

  /** @param {string} path @param {string[]} channels @returns {Promise<string[]>} */
  async #askChannels(path, channels) {
    try {
      const answer = await this.control(path, () => ({ session: this.#session, channels }));
      if (answer.cursor) this.#adopt(answer.cursor);
      return answer.channels;
    } catch (error) {
      // The server has forgotten this session.
      if (this.#run && /** @type {any} */ (error).code === 'session_unknown') this.#lookAgain(true);
      throw error;
    }
  }

  /** @param {Ending} ending the 401 @returns {Promise<Ending>} */
  async #renewToken({ error }) {
    try {
      if (!this.#tokenTried) {
        this.#tokenTried = true;
        if (await this.#token.fetch()) return { kind: 'pause' };
      }
      return { kind: 'final', code: error.code, reason: error.message, error };
    } catch (cause) {
      // The source of tokens can not be reached either; that is no refusal.
      this.#tokenTried = false;
      return { kind: 'lost', error: failure('no_fresh_token', cause) };
    }
  }

  /** The token ends soon: a fresh one takes its place, and the connection goes on. @param {any} told */
  async #refresh(told) {
    this.tell('expiring', told);
    try {
      if ((await this.#token.fetch()) && this.#session !== null)
        await this.control('/v1/refresh', () => ({ session: this.#session, token: this.#token.text }));
    } catch {
      // A control request tells its own errors. When no token can be had, the connection ends with the one
      // that it has, and asks again then.
    }
  }

  #listen() {
    this.#listening ??= listenToPage(this.#env.window, {
      online: () => {
        // This may be another network, without whatever it was that made the client fall back.
        this.#lookAgain(this.#nth > 0);
        this.#nth = 0;
      },
      visibilitychange: () => {
        if (this.#env.window.document.visibilityState === 'visible') this.#lookAgain(false);
      },
      pagehide: () => this.#pageHidden(),
      pageshow: ({ persisted }) => {
        if (persisted && this.#hidden) this.#start();
      },
    });
  }

  /**
   * There is a reason to believe that the network is back: ends a pause, and drops a connection that should
   * have been heard of by now.
   * @param {boolean} anyway drop the connection even so
   */
  #lookAgain(anyway) {
    if (this.#pause.end()) return;
    if (anyway) {
      this.#mayClash = true;
      this.#link?.end(failure('anew'));
    } else {
      this.#link?.look();
    }
  }

  /**
   * The page goes away, perhaps for ever, perhaps into the back/forward cache: it cannot be known which. The
   * session is ended by a beacon, which outlives the page; if the page comes back, the cursor is enough to go
   * on.
   */
  #pageHidden() {
    if (this.#isAway || this.#hidden) return;
    const { session } = this;
    if (!this.#part() && session !== null) {
      const words = JSON.stringify({ session, close_key: this.#closeKeys[session] });
      this.#env.window.navigator?.sendBeacon?.(this.#base + '/v1/close', words);
    }
    this.#hidden = true;
    this.#stop();
    this.#session = null;
    this.#memory.save();
    this.#setState('waiting');
  }

  #saveSoon() {
    if (this.#run) this.#memory.saveSoon();
  }

  /** @param {'connecting' | 'open' | 'waiting' | 'closed'} state */
  #setState(state) {
    const before = this.#state;
    if (state === before) return;
    this.#state = state;
    this.since = this.#env.now();
    if (state === 'connecting' || state === 'waiting') this.#tabs?.tell({ event: 'state', state });
    this.tell('state', state, before);
  }
}
