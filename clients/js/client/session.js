/**
 * The life of a session: it holds a data connection (a WebSocket, SSE read by `fetch`, long polls, or a
 * forever frame), remembers how far it has come in every channel, comes back by itself when the connection is
 * lost, and stays away when the session was ended on purpose. Not what an application calls: that is
 * `encke.js`.
 */
import { Beacon } from './beacon.js';
import { endingOf, isOfChannels } from './ending.js';
import { environment } from './env.js';
import { EnckeError, asError, failure } from './error.js';
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

/** @typedef {import('./link.js').Ending} Ending */

export class Session {
  #options;
  #base;
  #env;
  #emit;
  #state = 'idle';
  /** @type {string | null} */
  #session = null;
  #beacon = new Beacon();
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

  /**
   * @param {import('../encke.d.ts').EnckeOptions} options
   * @param {(type: string, ...values: unknown[]) => void} emit tells the application
   */
  constructor(options, emit) {
    this.#options = options;
    this.#emit = emit;
    this.#base = (options.url ?? defaultServer()).replace(/\/+$/, '');
    this.#env = environment(/** @type {any} */ (options).env);
    this.since = this.#env.now();
    this.#pause = new Pause(this.#env);
    this.#token = new Token(options);
    this.#requests = new Requests(this.#env, this.#base, this.#token, options.credentials);
    this.#positions = new Positions(options.channels);
    this.#memory = new Memory(this.#env, this.#base, options, () => this);
    this.#transports = transportsOf(options.transport);
    const cursor = options.cursor ?? this.#memory.cursor;
    if (cursor) this.#adopt(cursor);
  }

  /** @returns {'idle' | 'connecting' | 'open' | 'waiting' | 'closed'} */
  get state() {
    return /** @type {any} */ (this.#state);
  }

  /** @returns {string | null} */
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

  connect() {
    if (this.#closing) {
      this.#closing.then(() => this.connect());
    } else if (this.#state === 'idle' || this.#state === 'closed') {
      this.#start();
    }
  }

  reconnect() {
    if (this.#closing) {
      this.#closing.then(() => this.reconnect());
      return;
    }
    if (this.#state === 'closed') this.#session = null;
    this.#stop();
    this.#nth = 0;
    this.#start();
  }

  /** @param {string} [reason] @returns {Promise<boolean>} */
  close(reason) {
    this.#closing ??= this.#closeOnPurpose(reason).finally(() => {
      this.#closing = null;
    });
    return this.#closing;
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
      if (!(error instanceof EnckeError && error.transient)) for (const undo of giveUp) undo?.();
      throw error;
    }
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  async unsubscribe(channels) {
    this.#own?.unwant(channels);
    return this.#leave(channels);
  }

  /** No tab follows these any more. @param {string[]} channels */
  #giveUp(channels) {
    // What goes wrong is told to the `error` listeners.
    this.#leave(channels).catch(() => {});
  }

  /** Unsubscribes from what no other tab follows. @param {string[]} channels */
  #leave(channels) {
    const left = channels.filter((channel) => !this.#tabs?.othersFollow(channel));
    this.#positions.unwant(left);
    return this.#changeChannels('/v1/unsubscribe', left);
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
      this.#emit('error', error);
      throw error;
    }
  }

  #start() {
    const run = { stopped: false };
    this.#run = run;
    this.#hidden = false;
    this.#tokenTried = false;
    this.#listen();
    this.#setState('connecting');
    // A listener of the state may have stopped it already.
    if (!run.stopped) void this.#keepConnected(run);
  }

  /** Ends the data connection and its coming back, without a word to the server. */
  #stop() {
    if (this.#run) this.#run.stopped = true;
    this.#run = null;
    this.#link?.end();
    this.#link = null;
    this.#pause.end();
  }

  /** @param {{stopped: boolean}} run */
  async #keepConnected(run) {
    let failures = 0;
    while (!run.stopped) {
      const link = this.#makeLink(run);
      let ending = await this.#receive(link);
      // A browser may not tell why it was refused. The same is asked for by a poll that does not wait, which
      // finds nothing when it is but the transport that is wrong.
      const isLast = this.#nth === this.#transports.length - 1;
      const isBlind = BLIND.includes(this.#transports[this.#nth]);
      if (ending.kind === 'unfit' && isLast && isBlind && !run.stopped)
        ending = (await this.#receive(this.#makeLink(run), lookOnce)) ?? ending;
      if (run.stopped) return;
      if (ending.error?.status === 401) ending = await this.#renewToken(ending.error);
      if (run.stopped) return;
      if (ending.kind === 'final') return this.#finish(ending.code ?? '', ending.reason ?? '', ending.error);
      // While the session is being closed on purpose a lost connection stays lost; the answer to the close
      // ends this run.
      if (this.#closing) return;
      if (ending.error) this.#emit('error', ending.error);
      // A listener may have started another run, whose transport is not for this one to choose.
      if (run.stopped) return;
      if (link.openedAt && this.#env.now() - link.openedAt >= STABLE_MS) failures = 0;
      failures = ending.kind === 'pause' ? failures : failures + 1;
      if (ending.kind === 'unfit' && !isLast) {
        this.#nth++;
        failures = Math.min(failures, 1);
      }
      const pause = ending.kind === 'pause' ? 0 : pauseMs(failures, this.#env.random);
      const wait = Math.max(pause, ending.afterMs ?? 0);
      this.#setState(wait > 0 ? 'waiting' : 'connecting');
      // A pause that a listener has ended before it began would stand in the way of a later one.
      this.retryAt = this.#env.now() + wait;
      if (wait > 0 && !run.stopped) await this.#pause.wait(wait);
      this.retryAt = null;
      if (run.stopped || this.#closing) return;
      this.#setState('connecting');
    }
  }

  /** @param {{stopped: boolean}} run */
  #makeLink(run) {
    return new Link({
      env: this.#env,
      holdS: this.#options.holdS,
      stopped: () => run.stopped,
      path: (path, more) => this.#dataPath(path, more),
      address: (path) => new URL(this.#base + path, this.#env.window?.location?.href),
      request: (...asked) => this.#requests.send(...asked),
      sleep: (ms) => this.#pause.wait(ms),
      take: (event) => this.#take(run, event),
    });
  }

  /**
   * Serves one data connection until it ends.
   * @template {Ending | null} T
   * @param {Link} link
   * @param {(link: Link) => Promise<T>} [transport]
   * @returns {Promise<T | Ending>}
   */
  async #receive(link, transport = /** @type {any} */ (TRANSPORTS[this.#transports[this.#nth]])) {
    this.#link = link;
    try {
      if (!this.#token.text && this.#token.hasSource) await this.#token.fetch();
      if (link.stopped) return { kind: 'final' };
      this.#tabs ??= this.#share();
      if (this.#tabs && !this.#tabs.leads) return await this.#tabs.follow(link);
      if (this.#tabs) await this.#tabs.gather();
      return link.stopped ? { kind: 'final' } : await transport(link);
    } catch (thrown) {
      return this.#judge(link.signal.aborted ? link.signal.reason : thrown, link);
    } finally {
      link.end();
      if (this.#link === link) this.#link = null;
    }
  }

  /** Joins the tabs that share a connection, if this page is one and says whose it is. */
  #share() {
    const subject = this.#token.subject ?? this.#options.user;
    const { window } = this.#env;
    const wanted = this.#options.share !== false && subject && this.#positions.opaque === null;
    if (!wanted || !canShare(window)) return null;
    const key = ['encke', this.#base, subject, this.#token.grants, this.#transports].join(' ');
    return new Tabs(window, key, {
      place: () => this.#positions.begin(),
      follows: (channel) => this.#positions.follows(channel),
      lead: () => (this.#own = this.#positions.copy()),
      now: () => this.#place(this.#state === 'open' ? 'open' : 'state'),
      session: () => this.#session,
      joined: (cursor, channels) => this.#joined(cursor, channels),
      subscribe: (channels) => this.#subscribeOthers(channels),
      left: (channels) => this.#giveUp(channels.filter((channel) => !this.#own?.follows(channel))),
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
    this.#tabs = null;
    if (this.#own) this.#positions = this.#own;
    this.#own = null;
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

  /**
   * The one place where the client becomes closed.
   * @param {string} code
   * @param {string} reason
   * @param {EnckeError} [error]
   */
  #finish(code, reason, error) {
    this.#stop();
    this.#listening?.abort();
    this.#listening = null;
    this.#hidden = false;
    this.#session = null;
    this.#memory.save();
    if (this.#state === 'closed') return;
    // What this page's own channels were refused for is not the others' end: one of them leads on.
    if (!isOfChannels(code)) this.#tabs?.tell({ event: 'close', code, reason, reconnect: false });
    this.#part();
    this.#setState('closed');
    if (error) this.#emit('error', error);
    this.#emit('close', { code, reason, reconnect: false });
  }

  /** @param {string | undefined} reason @returns {Promise<boolean>} */
  async #closeOnPurpose(reason) {
    const session = this.#session;
    // Without a session there is nothing to free; the request that would have made one is given up.
    // Where other tabs share it, this one leaves it to them.
    const shared = this.#part();
    if (shared || session === null || this.#state === 'closed') {
      this.#finish('client', reason ?? '');
      return shared && session !== null;
    }
    try {
      const answer = await this.control(
        '/v1/close',
        () => ({ session, ...(reason === undefined ? {} : { reason }) }),
        CLOSE_TRIES,
      );
      return answer?.closed === true;
    } catch {
      return false;
    } finally {
      this.#finish('client', reason ?? '');
    }
  }

  /**
   * Takes in an event, whichever way it came: from the server, or from the tab that leads.
   * @param {{stopped: boolean}} run @param {any} event
   * @returns {Ending | void} how the connection has ended, if this was the end.
   */
  #take(run, event) {
    switch (event.event) {
      case 'open': return this.#opened(run, event);
      case 'session': return this.#named(event);
      case 'cursor': return event.cursor && this.#adopt(event.cursor);
      case 'message': return this.#message(event);
      case 'gap': return this.#gap(event);
      case 'unsubscribed': return this.#unsubscribed(event);
      case 'expiring': return void this.#refresh(event);
      case 'close': return this.#closed(event);
      case 'state':
        if (event.cursor) this.#adopt(event.cursor);
        return this.#setState(event.state);
      case 'forget': return this.#forgetCursor();
    }
  }

  /** @param {{stopped: boolean}} run @param {any} event */
  #opened(run, event) {
    this.#named(event);
    if (typeof event.cursor === 'string') this.#adopt(event.cursor);
    this.#tabs?.tell(this.#place('open'));
    this.#tokenTried = false;
    this.#changeLate();
    this.#setState('open');
    // A listener of the state may have given this connection up.
    if (run.stopped) return;
    this.#emit('open', { session: this.#session, cursor: this.cursor, transport: this.transport });
  }

  /** Where the connection is, as other tabs are told. @param {string} event */
  #place(event) {
    return {
      event,
      state: this.#state,
      session: this.#session,
      close_key: this.#beacon.key,
      cursor: this.#positions.cursor,
      transport: this.transport,
    };
  }

  /** @param {any} event */
  #named({ session, close_key: key }) {
    this.#session = this.#beacon.named(session, key) ?? this.#session;
  }

  /**
   * Tells the new connection which channels were subscribed or unsubscribed while its request was under way.
   */
  #changeLate() {
    const { wanted, unwanted } = this.#positions.late();
    // What goes wrong is told to the `error` listeners.
    if (wanted.length) this.subscribe(wanted).catch(() => {});
    if (unwanted.length) this.unsubscribe(unwanted).catch(() => {});
  }

  /** @param {any} event */
  #message(event) {
    const { channel } = event;
    if (!hasPosition(event))
      return this.#emit('error', failure('bad_message'));
    // The position moves first, so that an `ack()` by the listener covers this message.
    if (!this.#positions.pass(event)) return;
    this.#tabs?.tell({ ...event, event: 'message' });
    if (this.#own && !this.#own.follows(channel)) {
      // A tab that led before this one may have followed it.
      if (!this.#tabs?.othersFollow(channel)) this.#giveUp([channel]);
      return;
    }
    if (this.#own && !this.#own.pass(event)) return;
    if (isOwn(channel)) this.#memory.savePlace();
    this.#saveSoon();
    tellMessage(event, this.#emit);
  }

  /** @param {any} event */
  #gap(event) {
    const { event: _, ...gap } = event;
    if (!this.#positions.skip(gap)) return;
    this.#tabs?.tell({ ...gap, event: 'gap' });
    if (this.#own && !(this.#own.follows(gap.channel) && this.#own.skip(gap))) return;
    this.#saveSoon();
    this.#emit('gap', gap);
  }

  /** The token that the session goes on with does not grant this channel. @param {any} event */
  #unsubscribed({ channel, reason }) {
    this.#tabs?.tell({ event: 'unsubscribed', channel, reason });
    this.#positions.drop(channel);
    if (this.#own && !this.#own.follows(channel)) return;
    this.#own?.drop(channel);
    this.#saveSoon();
    this.#emit('unsubscribed', { channel, reason });
  }

  /** @param {any} event @returns {Ending} */
  #closed(event) {
    const { code = '', reason = '', reconnect = false, retry_ms: asked } = event;
    // The one that was given up has arrived late. The session is still this client's.
    if (code === 'taken_over' && this.#mayClash) {
      this.#mayClash = false;
      return { kind: 'lost' };
    }
    // A frame has become long. The session goes on, in the next one.
    if (code === 'recycle' && reconnect === true) return { kind: 'pause' };
    this.#session = null;
    if (reconnect !== true) return { kind: 'final', code, reason };
    this.#tabs?.tell({ event: 'close', code, reason, reconnect: true });
    this.#emit('close', { code, reason, reconnect: true });
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
    const lost = this.#positions.forget();
    for (const [channel, at] of lost) {
      if (this.#own && !this.#own.follows(channel)) continue;
      this.#own?.restart(channel);
      if (!this.#positions.unwanted.has(channel))
        this.#emit('gap', { channel, from: at.offset + 1, to: null, reason: 'cursor' });
    }
    this.#saveSoon();
  }

  /**
   * A data connection's path, with the query that says where to go on.
   * @param {string} path
   * @param {Record<string, string | number>} [more]
   */
  #dataPath(path, more = {}) {
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
    if (this.#session === null || channels.length === 0) return this.channels;
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
      if (typeof answer.cursor === 'string') this.#adopt(answer.cursor);
      return answer.channels;
    } catch (error) {
      // The server has forgotten this session.
      if (this.#run && error instanceof EnckeError && error.code === 'session_unknown') this.#lookAgain(true);
      throw error;
    }
  }

  /** @param {EnckeError} error the 401 @returns {Promise<Ending>} */
  async #renewToken(error) {
    /** @type {Ending} */
    const refused = { kind: 'final', code: error.code, reason: error.message, error };
    if (this.#tokenTried || !this.#token.hasSource) return refused;
    try {
      this.#tokenTried = true;
      return (await this.#token.fetch()) ? { kind: 'pause' } : refused;
    } catch (cause) {
      // The source of tokens can not be reached either; that is no refusal.
      this.#tokenTried = false;
      return { kind: 'lost', error: failure('no_fresh_token', { cause }) };
    }
  }

  /** The token ends soon: a fresh one takes its place, and the connection goes on. @param {any} event */
  async #refresh({ in_s: inS }) {
    this.#emit('expiring', { in_s: inS });
    try {
      if (!this.#token.hasSource || !(await this.#token.fetch()) || this.#session === null) return;
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
      visible: () => this.#lookAgain(false),
      hide: () => this.#pageHidden(),
      show: ({ persisted }) => {
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
    if (this.#state === 'idle' || this.#state === 'closed' || this.#hidden) return;
    if (!this.#part()) this.#beacon.send(this.#env, this.#base, this.#session);
    this.#hidden = true;
    this.#stop();
    this.#session = null;
    this.#memory.save();
    this.#setState('waiting');
  }

  #saveSoon() {
    if (this.#run !== null) this.#memory.saveSoon();
  }

  /** @param {string} state */
  #setState(state) {
    if (this.#state === state) return;
    const before = this.#state;
    this.#state = state;
    this.since = this.#env.now();
    if (state === 'connecting' || state === 'waiting') this.#tabs?.tell({ event: 'state', state });
    this.#emit('state', state, before);
  }
}
