/**
 * The demo page. Everything that arrives is shown as text or in a sandboxed frame; nothing of it ever becomes
 * markup of this page.
 *
 * The login is kept in this tab's `sessionStorage` and not in the cookie, since tabs share cookies, and
 * several tabs as several users is what the demo is for.
 */
import { Encke, showPage } from '../client.js';

/**
 * Where the server is, by where this script came from: a proxy may have put it behind a prefix of the path.
 */
const BASE = new URL('..', import.meta.url).pathname.replace(/\/$/, '');
const KEPT = 'encke.demo';
const KEPT_PAGES = 'encke.demo.pages';
const MOST_MESSAGES = 500;
const MOST_PAGES = 50;
/** What the transports are called on the page. @type {Record<string, string>} */
const TRANSPORTS = { sse: 'SSE', poll: 'long poll', ws: 'WebSocket', iframe: 'forever frame' };

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

/** @type {Encke | null} */
let client = null;
/** @type {{user: string, token: string, transport: string, channels: string[], byId: boolean} | null} */
let login = null;
/** The pages of this visit, the latest last. @type {any[]} */
let pages = [];
/** @type {any} */
let current = null;

// -- small helpers

/** @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {string} id @param {string} text what to say; nothing hides it */
function say(id, text) {
  at(id).textContent = text;
  if (at(id).hasAttribute('role') && !at(id).classList.contains('result')) at(id).hidden = text === '';
}

/** @param {string} time */
const clock = (time) =>
  new Date(time).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  });

/** @param {string} text */
const channelList = (text) => [...new Set(text.split(',').map((name) => name.trim()).filter(Boolean))];

/** @param {unknown} data */
const asText = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

function remember() {
  try {
    if (login) {
      sessionStorage.setItem(KEPT, JSON.stringify(login));
      // The server has handed these over and will not do so again, so a reload has to find them here.
      sessionStorage.setItem(KEPT_PAGES, JSON.stringify(pages));
    } else {
      sessionStorage.removeItem(KEPT);
      sessionStorage.removeItem(KEPT_PAGES);
    }
  } catch {
    // A browser may deny its storage; a reload then asks for the login again.
  }
}

/** @param {string} key @returns {any} */
function remembered(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

// -- login

/** @param {Record<string, string>} proof an id or a token */
async function askForToken(proof) {
  const response = await fetch(BASE + '/v1/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(proof),
    // The cookie in the answer would replace that of every other tab.
    credentials: 'omit',
    cache: 'no-store',
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer?.token) return answer;
  throw new Error(answer?.error?.message ?? `The server answered ${response.status}.`);
}

/** @param {SubmitEvent} event */
async function onLogin(event) {
  event.preventDefault();
  const user = at('login-user').value.trim();
  const token = at('login-token').value.trim();
  say('login-error', '');
  if (!user && !token) {
    say('login-error', 'Type an id first.');
    at('login-user').focus();
    return;
  }
  at('login-button').disabled = true;
  try {
    const answer = await askForToken(token ? { token } : { user });
    at('login-token').value = '';
    login = {
      user: answer.user, token: answer.token, byId: !token,
      transport: at('login-transport').value, channels: channelList(at('login-channels').value),
    };
    remember();
    enter();
    at('close-button').focus();
  } catch (error) {
    say(
      'login-error',
      error instanceof TypeError ? 'The server can not be reached.' : /** @type {Error} */ (error).message,
    );
  } finally {
    at('login-button').disabled = false;
  }
}

function showLogin() {
  document.title = 'Encke';
  at('login').hidden = false;
  at('room').hidden = true;
  at('actions').hidden = true;
  at('who-line').hidden = true;
  showState();
  at('login-user').focus();
}

async function logout() {
  at('logout-button').disabled = true;
  const leaving = client;
  client = null;
  await leaving?.close('logged out');
  const token = login?.token;
  login = null;
  remember();
  if (token)
    fetch(BASE + '/v1/logout', {
      method: 'POST',
      headers: { authorization: 'Bearer ' + token },
      credentials: 'omit',
    }).catch(() => {});
  pages = [];
  current = null;
  for (const id of ['page', 'pages', 'messages', 'channels']) at(id).replaceChildren();
  say('notice', '');
  showPages();
  at('logout-button').disabled = false;
  showLogin();
}

// -- connected

function enter() {
  const { user, token, transport, channels, byId } = /** @type {NonNullable<typeof login>} */ (login);
  at('login').hidden = true;
  at('room').hidden = false;
  at('actions').hidden = false;
  at('who-line').hidden = false;
  at('who').textContent = user;
  at('page-hint').textContent = `encke push --to ${user} --url https://example.com`;
  document.title = `${user} · Encke`;
  if (!at('publish-channel').value && channels[0]) at('publish-channel').value = channels[0];

  const mine = new Encke({
    url: BASE, token, channels, storage: sessionStorage,
    transport: /** @type {any} */ (transport.split(',')),
    getToken: byId ? async () => {
      const answer = await askForToken({ user });
      if (login) login.token = answer.token;
      remember();
      return answer.token;
    } : undefined,
  });
  client = mine;
  mine.on('state', () => mine === client && showState());
  mine.on('open', () => {
    say('notice', '');
    at('session').textContent = mine.session;
    at('session-line').hidden = false;
    showChannels();
  });
  mine.on('page', (message) => onPage(mine, message));
  mine.on('message', (message) => onMessage(mine, message));
  mine.on('gap', onGap);
  mine.on('close', (close) => mine === client && onClose(close));
  showState();
  showChannels();
  if (pages.length) show(mine, pages[pages.length - 1]);
  else showPages();
  mine.connect();
}

function showState() {
  const state = client?.state ?? 'idle';
  const by = TRANSPORTS[client?.transport] ?? '';
  const words = {
    idle: 'Not connected',
    connecting: 'Connecting',
    open: `Connected by ${by}`,
    waiting: 'Lost, trying again',
    closed: 'Closed',
  };
  const element = at('state');
  element.dataset.state = state;
  element.dataset.transport = client?.transport ?? '';
  if (element.textContent !== words[state]) element.textContent = words[state];
  at('close-button').hidden = state === 'closed';
  at('reconnect-button').hidden = state !== 'closed';
  if (state !== 'open') at('session-line').hidden = true;
}

/** @param {{code: string, reason: string, reconnect: boolean}} close */
function onClose({ code, reason, reconnect }) {
  const why = reason ? ` (${reason})` : '';
  at('notice').dataset.code = code;
  if (reconnect) say('notice', `The server asked all clients to come back in a moment${why}.`);
  else if (code === 'client')
    say(
      'notice',
      'You closed this session. The server has freed everything of it, and nothing will reconnect by itself.',
    );
  else if (code === 'operator')
    say('notice', `An operator closed this session${why}. Nothing will reconnect by itself.`);
  else say('notice', `This session has ended: ${reason || code}. Nothing will reconnect by itself.`);
}

async function closeOnPurpose() {
  at('close-button').disabled = true;
  at('state').textContent = 'Closing';
  const freed = await client?.close();
  at('close-button').disabled = false;
  if (!client || client.state !== 'closed') return;
  if (!freed)
    say(
      'notice',
      'You closed this session. The server did not confirm it, and will free it by itself in a moment. Nothing will reconnect by itself.',
    );
  at('reconnect-button').focus();
}

function reconnect() {
  say('notice', '');
  client?.reconnect();
  at('close-button').focus();
}

// -- pages

/** @param {Encke} from @param {any} message */
function onPage(from, message) {
  pages.push(message);
  if (pages.length > MOST_PAGES) pages.shift();
  remember();
  show(from, message);
}

/** @param {Encke} from @param {any} message */
function show(from, message) {
  current = message;
  const loaded = showPage(at('page'), message, { client: from, shown: 'loaded' });
  // A frame, or a link to a page that wants a window of its own.
  const content = at('page').firstElementChild;
  content.id = message.show === 'window' ? 'page-link' : 'page-frame';
  content.dataset.message = message.id;
  at('page').setAttribute('aria-busy', String(message.show !== 'window'));
  loaded.then((shown) => {
    if (!shown) return;
    shown.dataset.loaded = '';
    at('page').removeAttribute('aria-busy');
  }, () => {});
  showPages();
}

function showPages() {
  at('page-empty').hidden = current !== null;
  at('page').hidden = current === null;
  for (const id of ['page-url', 'page-time']) at(id).hidden = current === null;
  if (current) {
    at('page-url').href = current.url;
    at('page-url').textContent = current.url;
    at('page-time').textContent = clock(current.time);
    at('page-time').dateTime = current.time;
  }
  const earlier = pages.filter((page) => page !== current).reverse();
  at('earlier').hidden = earlier.length === 0;
  at('pages').replaceChildren(...earlier.map((page) => {
    const button = make(
      'button',
      { type: 'button', class: 'row', 'data-url': page.url },
      make('span', { class: 'address' }, page.url),
      make('time', { class: 'quiet', datetime: page.time }, clock(page.time)),
    );
    button.addEventListener('click', () => client && show(client, page));
    return make('li', {}, button);
  }));
}

// -- messages

/** @param {Encke} from @param {any} message */
function onMessage(from, message) {
  const own = message.channel.startsWith('@');
  const head = make('span', { class: 'head' }, make('strong', {}, own ? 'to you' : message.channel));
  if (message.from) head.append(' ', make('span', { class: 'quiet' }, 'from ' + message.from));
  log(
    make(
      'li',
      {
        'data-channel': message.channel,
        'data-offset': String(message.offset),
        ...(own ? { class: 'own' } : {}),
      },
      head,
      make('time', { class: 'quiet', datetime: message.time }, clock(message.time)),
      make('span', { class: typeof message.data === 'string' ? 'data' : 'data json' }, asText(message.data)),
    ),
  );
  // What goes wrong with an acknowledgement is no concern of the person who reads.
  if (own) from.shown(message).catch(() => {});
}

/** @param {any} gap */
function onGap({ channel, from, to }) {
  const name = channel.startsWith('@') ? 'your own channel' : channel;
  const what =
    to === null
      ? `Some messages of ${name} may be lost: the server began anew.`
      : from === to
        ? `Message ${from} of ${name} is gone: it was kept no longer.`
        : `Messages ${from} to ${to} of ${name} are gone: they were kept no longer.`;
  log(make('li', { class: 'gap', 'data-channel': channel }, what));
}

/** @param {Element} entry */
function log(entry) {
  const list = at('messages');
  const frame = at('messages-log');
  // A reader who has scrolled back must not be torn away by what is new.
  const atEnd = frame.scrollHeight - frame.scrollTop - frame.clientHeight < 40;
  list.append(entry);
  while (list.childElementCount > MOST_MESSAGES) list.firstElementChild.remove();
  if (atEnd) frame.scrollTop = frame.scrollHeight;
  at('clear-button').hidden = false;
}

/** @param {SubmitEvent} event */
async function onPublish(event) {
  event.preventDefault();
  const text = at('publish-data').value;
  let data = text;
  try {
    data = JSON.parse(text);
  } catch {
    // It is plain text then.
  }
  const channel = at('publish-channel').value.trim();
  at('publish-button').disabled = true;
  try {
    const { offset } = await /** @type {Encke} */ (client).publish(channel, data);
    say('publish-result', `Number ${offset} of ${channel}.`);
    at('publish-data').value = '';
  } catch (error) {
    say('publish-result', /** @type {Error} */ (error).message);
  }
  at('publish-button').disabled = false;
  at('publish-data').focus();
}

// -- channels

function showChannels() {
  const names = client?.channels ?? [];
  at('channels').replaceChildren(
    ...(login ? [make('li', { class: 'fixed', 'data-channel': '@' + login.user }, '@' + login.user)] : []),
    ...names.map((name) => {
      const button = make(
        'button',
        { type: 'button', 'aria-label': `Leave ${name}`, title: `Leave ${name}` },
        '×',
      );
      button.addEventListener('click', () => changeChannels(() => client?.unsubscribe([name])));
      return make('li', { 'data-channel': name }, name, button);
    }),
  );
}

/** @param {() => Promise<unknown> | undefined} change */
async function changeChannels(change) {
  say('channel-result', '');
  const done = change();
  showChannels();
  try {
    await done;
  } catch (error) {
    say('channel-result', /** @type {Error} */ (error).message);
  }
  if (login && client) {
    login.channels = client.channels;
    remember();
  }
  showChannels();
}

/** @param {SubmitEvent} event */
function onFollow(event) {
  event.preventDefault();
  const names = channelList(at('channel-input').value);
  at('channel-input').value = '';
  if (names.length) changeChannels(() => client?.subscribe(names));
}

// -- start

at('login-form').addEventListener('submit', onLogin);
at('publish-form').addEventListener('submit', onPublish);
at('channel-form').addEventListener('submit', onFollow);
at('close-button').addEventListener('click', closeOnPurpose);
at('reconnect-button').addEventListener('click', reconnect);
at('logout-button').addEventListener('click', logout);
at('clear-button').addEventListener('click', () => {
  at('messages').replaceChildren();
  at('clear-button').hidden = true;
});

const asked =
  new URLSearchParams(location.search).get('user') ?? new URLSearchParams(location.hash.slice(1)).get('user');
login = remembered(KEPT);
// An address that names another user is a wish to be that one.
if (login && (asked === null || asked === login.user)) {
  pages = remembered(KEPT_PAGES) ?? [];
  enter();
} else {
  login = null;
  if (asked) at('login-user').value = asked;
  showLogin();
}
