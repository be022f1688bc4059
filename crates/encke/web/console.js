/**
 * The operators' console. It uses the server API and nothing else. All that comes from outside is shown as
 * text nodes; an address becomes a link only when it is http or https.
 */
import { safeUrl } from '../client.js';

/**
 * Where the server is, by where this script came from: a proxy may have put it behind a prefix of the path.
 */
const BASE = new URL('..', import.meta.url).pathname.replace(/\/$/, '');
const KEPT = 'encke.console.key';
const USERS_EVERY_MS = 1500;
const CHANNELS_EVERY_MS = 5000;
const PAGE_SIZE = 200;
const MOST_PUSHES = 30;
const MOST_RECEIPTS_SHOWN = 200;

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

let key = '';
/** @type {Set<string>} */
const selected = new Set();
/** @type {Set<string>} */
const unfolded = new Set();
/** @type {any[]} */
let users = [];
/** @type {Map<string, any[]>} */
let sessions = new Map();
let usersPages = 1;

// -- small helpers

/** @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Writes only what has changed, so that a refresh neither disturbs a selection nor makes a screen reader
 * speak.
 * @param {Element} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id @param {string} text what is wrong; nothing hides it */
function problem(id, text) {
  setText(at(id), text);
  at(id).hidden = text === '';
}

/** @param {number} n @param {string} one */
const count = (n, one) => `${n.toLocaleString()} ${one}${n === 1 ? '' : 's'}`;

/** @param {string} time */
const clock = (time) =>
  new Date(time).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  });

/** @param {string} time */
function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString();
}

class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {string} path @param {unknown} [body] what to POST @returns {Promise<any>} */
async function api(path, body) {
  const used = key;
  let response;
  try {
    response = await fetch(BASE + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        authorization: 'Bearer ' + used,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'omit',
      cache: 'no-store',
    });
  } catch {
    throw new ApiError(0, 'The server can not be reached.');
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const error = new ApiError(
    response.status,
    answer?.error?.message ?? `The server answered ${response.status}.`,
  );
  if (response.status === 401 && used === key) shutGate('This key is not the right one.');
  throw error;
}

/** Reads several pages of a list. @param {string} path @param {string} member @param {number} pages */
async function list(path, member, pages) {
  const all = [];
  let after = '';
  for (let page = 0; page < pages; page++) {
    const separator = path.includes('?') ? '&' : '?';
    const answer = await api(
      `${path}${separator}limit=${PAGE_SIZE}${after && '&after=' + encodeURIComponent(after)}`,
    );
    all.push(...answer[member]);
    if (!answer.next) return { all, more: false };
    after = answer.next;
  }
  return { all, more: true };
}

/**
 * Makes the children of a list fit the items. An element lives as long as its item does, so that focus,
 * selection and open details survive a refresh.
 * @template Item
 * @param {Element} parent
 * @param {Item[]} items
 * @param {(item: Item) => string} name
 * @param {(item: Item) => Element} create
 * @param {(element: any, item: Item) => void} update
 */
function keep(parent, items, name, create, update) {
  const before = new Map(
    [...parent.children].map((element) => [/** @type {any} */ (element).dataset.kept, element]),
  );
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = name(item);
    let element = before.get(id);
    if (element) {
      before.delete(id);
    } else {
      element = create(item);
      /** @type {any} */ (element).dataset.kept = id;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  }
  for (const element of before.values()) element.remove();
}

/**
 * Does something again and again while the tab is looked at. A hidden tab asks the server nothing.
 * @param {number} everyMs @param {() => Promise<void>} what
 */
function whileVisible(everyMs, what) {
  /** @type {any} */
  let timer = null;
  let running = false;
  const run = async () => {
    clearTimeout(timer);
    if (running || !key || document.visibilityState === 'hidden') return;
    running = true;
    try {
      await what();
    } finally {
      running = false;
      timer = setTimeout(run, everyMs);
    }
  };
  document.addEventListener('visibilitychange', run);
  return run;
}

// -- the key

function takeKeyFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get('key');
  if (given === null) return false;
  // Out of the address, the history and whatever a screenshot shows.
  history.replaceState(null, '', location.pathname + location.search);
  key = given.trim();
  return true;
}

function keepKey() {
  try {
    if (key) sessionStorage.setItem(KEPT, key);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // A browser may deny its storage; a reload then asks for the key again.
  }
}

/** @param {string} [why] */
function shutGate(why = '') {
  key = '';
  keepKey();
  at('gate').hidden = false;
  at('desk').hidden = true;
  at('actions').hidden = true;
  at('live').hidden = true;
  problem('key-error', why);
  at('key').focus();
}

async function openGate() {
  problem('key-error', '');
  at('key-button').disabled = true;
  try {
    await api('/api/users?limit=1');
    keepKey();
    at('key').value = '';
    at('gate').hidden = true;
    at('desk').hidden = false;
    at('actions').hidden = false;
    at('live').hidden = false;
    refreshUsers();
    refreshChannels();
  } catch (error) {
    // A key that was refused has shown the form by itself; without an answer it may still be right.
    if (/** @type {ApiError} */ (error).status !== 401) {
      at('gate').hidden = false;
      problem('key-error', /** @type {Error} */ (error).message);
    }
  } finally {
    at('key-button').disabled = false;
  }
}

// -- users

/** @param {'live' | 'paused' | 'lost'} state */
function showLive(state) {
  at('live').dataset.state = state;
  setText(at('live'), { live: 'Live', paused: 'Paused', lost: 'Server not reached' }[state]);
}

const refreshUsers = whileVisible(USERS_EVERY_MS, async () => {
  try {
    const [known, open] = await Promise.all([
      list(at('online-only').checked ? '/api/users?online=true' : '/api/users', 'users', usersPages),
      list('/api/sessions', 'sessions', usersPages),
    ]);
    users = known.all;
    sessions = new Map();
    for (const session of open.all)
      sessions.set(session.user, [...(sessions.get(session.user) ?? []), session]);
    at('users-more').hidden = !known.more;
    showUsers(known.more);
    showLive('live');
  } catch {
    if (key) showLive('lost');
  }
});

/** @param {boolean} [more] */
function showUsers(more = !at('users-more').hidden) {
  const filter = at('filter').value.trim().toLowerCase();
  const shown = users.filter((user) => user.id.toLowerCase().includes(filter));
  const online = users.filter((user) => user.online).length;
  setText(
    at('users-count'),
    `${online.toLocaleString()} online of ${users.length.toLocaleString()}${more ? '+' : ''}`,
  );
  at('users-empty').hidden = shown.length > 0;
  setText(
    at('users-empty'),
    users.length ? 'No user of that name.' : 'No users yet. Open the demo in another tab and log in.',
  );
  keep(at('users'), shown, (user) => user.id, makeUser, showUser);
  setText(at('selected-count'), selected.size.toLocaleString());
}

/** @param {any} user */
function makeUser({ id }) {
  const box = make('input', { type: 'checkbox', 'data-select-user': id });
  box.addEventListener('change', () => {
    if (/** @type {any} */ (box).checked) selected.add(id);
    else selected.delete(id);
    at('to-selected').checked = true;
    showUsers();
  });
  const fold = make('button', {
    type: 'button',
    class: 'plain small sessions',
    'data-sessions-of': id,
    'aria-expanded': 'false',
  });
  fold.addEventListener('click', () => {
    if (!unfolded.delete(id)) unfolded.add(id);
    showUsers();
  });
  const close = make(
    'button',
    {
      type: 'button',
      class: 'plain small danger',
      'data-close-user': id,
      'aria-label': `Close all sessions of ${id}`,
    },
    'Close',
  );
  close.addEventListener('click', () => closeSessions(close, { user: id }, id));
  return make(
    'li',
    { 'data-user': id },
    make(
      'label',
      {},
      box,
      make('span', { class: 'dot', 'aria-hidden': 'true' }),
      make('span', { class: 'name' }, id),
    ),
    make('span', { class: 'seen quiet' }),
    fold,
    close,
    make('ul', { class: 'sessions', 'aria-label': `Sessions of ${id}`, hidden: '' }),
  );
}

/** @param {any} row @param {any} user */
function showUser(row, { id, online, sessions: howMany, last_seen }) {
  row.dataset.online = String(online);
  row.dataset.sessions = String(howMany);
  row.querySelector('input').checked = selected.has(id);
  setText(row.querySelector('.seen'), online ? 'online' : ago(last_seen));
  const own = sessions.get(id) ?? [];
  const open = unfolded.has(id) && howMany > 0;
  const fold = row.querySelector('button.sessions');
  setText(fold, count(howMany, 'session'));
  fold.hidden = howMany === 0;
  fold.setAttribute('aria-expanded', String(open));
  row.querySelector('[data-close-user]').hidden = howMany === 0;
  const inner = row.querySelector('ul');
  inner.hidden = !open;
  keep(inner, open ? own : [], (session) => session.session, makeSession, showSession);
}

/** @param {any} session */
function makeSession({ session, user }) {
  const close = make(
    'button',
    {
      type: 'button',
      class: 'plain small danger',
      'data-close-session': session,
      'aria-label': `Close session ${session} of ${user}`,
    },
    'Close',
  );
  close.addEventListener('click', () => closeSessions(close, { session }, `session ${session}`));
  return make(
    'li',
    { 'data-session': session },
    make('code', {}, session),
    make('span', { class: 'about quiet' }),
    close,
  );
}

/** @param {any} row @param {any} session */
function showSession(row, { transport, since, lag, channels, connected, node }) {
  const own = channels.filter((/** @type {string} */ name) => !name.startsWith('@'));
  setText(
    row.querySelector('.about'),
    [
      connected ? transport : `${transport}, between connections`,
      `since ${clock(since)}`,
      node,
      lag ? `${lag} behind` : '',
      own.join(', '),
    ]
      .filter(Boolean)
      .join(' · '),
  );
}

/** @param {any} button @param {unknown} whom @param {string} name */
async function closeSessions(button, whom, name) {
  button.disabled = true;
  try {
    const { closed } = await api('/api/close', whom);
    setText(
      at('said'),
      closed
        ? `Closed ${'user' in /** @type {any} */ (whom) ? `${count(closed, 'session')} of ${name}` : name}.`
        : `There was nothing left to close of ${name}.`,
    );
  } catch (error) {
    setText(at('said'), /** @type {Error} */ (error).message);
  }
  button.disabled = false;
  refreshUsers();
}

/** @param {(user: any) => boolean} which */
function select(which) {
  const filter = at('filter').value.trim().toLowerCase();
  selected.clear();
  for (const user of users) if (which(user) && user.id.toLowerCase().includes(filter)) selected.add(user.id);
  at('to-selected').checked = true;
  showUsers();
}

// -- pushing

function showKind() {
  const page = at('kind-page').checked;
  at('url-field').hidden = !page;
  at('data-field').hidden = page;
}

/** @returns {{body: Record<string, unknown>, what: string} | string} what to push, or what is wrong */
function readPush() {
  const to = at('to-all').checked ? 'all' : at('to-online').checked ? 'online' : [...selected];
  if (Array.isArray(to) && to.length === 0) return 'Select a user first.';
  /** @type {Record<string, unknown>} */
  const body = { to };
  let what;
  if (at('kind-page').checked) {
    what = at('push-url').value.trim();
    // The server has the last word; this only spares a round trip.
    if (safeUrl(what) === null) return 'The address has to begin with http:// or https://.';
    body.url = what;
  } else {
    const text = at('push-data').value.trim();
    if (text === '') return 'Write a message first.';
    try {
      body.data = JSON.parse(text);
    } catch {
      if (/^[[{"]/.test(text)) return 'This begins like JSON, but is none.';
      body.data = text;
    }
    what = text;
  }
  if (at('push-ttl').value !== '') {
    body.ttl_s = Number(at('push-ttl').value);
    if (!Number.isInteger(body.ttl_s) || /** @type {number} */ (body.ttl_s) < 1)
      return 'The time to keep it is a whole number of seconds.';
  }
  // An idempotency key: should the answer get lost, the server will not push the same thing twice.
  body.id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
  return { body, what };
}

/** @param {SubmitEvent} event */
async function onPush(event) {
  event.preventDefault();
  const push = readPush();
  problem('push-error', '');
  setText(at('push-result'), '');
  if (typeof push === 'string') return problem('push-error', push);
  at('push-button').disabled = true;
  try {
    const answer = await api('/api/push', push.body);
    const kept = answer.mode === 'memory' ? 'kept in memory' : `kept by ${answer.mode}`;
    const more = answer.truncated ? ' or more' : '';
    setText(
      at('push-result'),
      `Accepted for ${answer.accepted.toLocaleString()}: ${answer.online.length.toLocaleString()}${more} online, ${answer.offline.length.toLocaleString()}${more} offline; ${kept}.`,
    );
    follow(answer, push.what);
  } catch (error) {
    problem('push-error', /** @type {Error} */ (error).message);
  }
  at('push-button').disabled = false;
}

// -- receipts

const STATES = ['queued', 'delivered', 'shown', 'expired', 'cancelled'];
/** Those that nothing follows. */
const LAST_STATES = ['shown', 'expired', 'cancelled'];
/**
 * The pushes that are followed, the latest first.
 * @type {{id: string, dueAt: number, pauseMs: number, last: string, done: boolean}[]}
 */
let followed = [];

/** @param {any} answer @param {string} what */
function follow({ id }, what) {
  const url = safeUrl(what);
  const title = url
    ? make('a', { class: 'address', href: url, target: '_blank', rel: 'noopener noreferrer' }, what)
    : make('span', { class: 'address' }, what);
  const counts = make('p', { class: 'counts', role: 'status' });
  for (const state of STATES)
    counts.append(make('span', { 'data-count': state }, make('b', {}, '0'), ` ${state}`));
  at('receipts').prepend(
    make(
      'article',
      { class: 'receipt', 'data-push': id, 'aria-label': `Push ${id}` },
      make('header', {}, title, make('time', { class: 'quiet' }, clock(new Date().toISOString()))),
      make(
        'div',
        { class: 'meter', 'aria-hidden': 'true' },
        ...STATES.map((state) => make('span', { 'data-meter': state })),
      ),
      counts,
      make('ul', { 'aria-label': 'Receipts by user' }),
      make('p', { class: 'quiet more', hidden: '' }),
    ),
  );
  followed.unshift({ id, dueAt: 0, pauseMs: 400, last: '', done: false });
  for (const old of followed.splice(MOST_PUSHES))
    at('receipts')
      .querySelector(`[data-push="${CSS.escape(old.id)}"]`)
      ?.remove();
  at('receipts-empty').hidden = true;
  refreshReceipts();
}

const refreshReceipts = whileVisible(400, async () => {
  for (const push of followed) {
    if (push.done || Date.now() < push.dueAt) continue;
    try {
      const { receipts, next } = await api(
        `/api/push/${encodeURIComponent(push.id)}?limit=${MOST_RECEIPTS_SHOWN}`,
      );
      showReceipts(push.id, receipts, Boolean(next));
      const now = receipts.map((/** @type {any} */ receipt) => receipt.state).join();
      // While nothing happens it is asked for less and less often.
      push.pauseMs = now === push.last ? Math.min(push.pauseMs * 1.5, 5000) : 400;
      push.last = now;
      push.done =
        !next &&
        receipts.every((/** @type {any} */ receipt) => LAST_STATES.includes(receipt.state));
    } catch (error) {
      push.done = /** @type {ApiError} */ (error).status === 404;
      push.pauseMs = 5000;
    }
    push.dueAt = Date.now() + push.pauseMs;
  }
});

/** @param {string} id @param {any[]} receipts @param {boolean} more */
function showReceipts(id, receipts, more) {
  const article = at('receipts').querySelector(`[data-push="${CSS.escape(id)}"]`);
  if (!article) return;
  for (const state of STATES) {
    const n = receipts.filter((receipt) => receipt.state === state).length;
    article.dataset[state] = String(n);
    const told = article.querySelector(`[data-count="${state}"]`);
    setText(told.querySelector('b'), n.toLocaleString());
    told.dataset.none = String(n === 0);
    // The strict policy forbids style attributes, not this.
    article.querySelector(`[data-meter="${state}"]`).style.flexGrow = String(n);
  }
  const note = article.querySelector('.more');
  note.hidden = !more;
  setText(note, more ? `These are the first ${receipts.length.toLocaleString()}.` : '');
  keep(
    article.querySelector('ul'),
    receipts,
    (receipt) => receipt.user,
    (receipt) =>
      make(
        'li',
        { 'data-receipt-user': receipt.user },
        make('span', { class: 'name' }, receipt.user),
        make('span', { class: 'badge' }),
        make('time', { class: 'quiet' }),
      ),
    (row, receipt) => {
      row.dataset.state = receipt.state;
      setText(row.querySelector('.badge'), receipt.state);
      setText(row.querySelector('time'), receipt.time ? clock(receipt.time) : '');
    },
  );
}

// -- channels

const refreshChannels = whileVisible(CHANNELS_EVERY_MS, async () => {
  try {
    // The users' own channels are the list of users over again.
    const all = (await list('/api/channels', 'channels', 1)).all.filter(
      (channel) => !channel.channel.startsWith('@'),
    );
    at('channels-empty').hidden = all.length > 0;
    keep(
      at('channels'),
      all,
      (channel) => channel.channel,
      (channel) =>
        make(
          'tr',
          { 'data-channel': channel.channel },
          make('td', {}, channel.channel),
          ...['tail', 'head', 'subscribers'].map((name) => make('td', { class: `number ${name}` })),
        ),
      (row, channel) => {
        for (const name of ['tail', 'head', 'subscribers'])
          setText(row.querySelector('.' + name), (channel[name] ?? 0).toLocaleString());
      },
    );
  } catch {
    // The list of users has told already that the server is not reached.
  }
});

// -- start

at('key-form').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  key = at('key').value.trim();
  if (key) openGate();
  else problem('key-error', 'Type the key first.');
});
at('forget-button').addEventListener('click', () => shutGate());
at('filter').addEventListener('input', () => showUsers());
at('online-only').addEventListener('change', () => refreshUsers());
at('select-all').addEventListener('click', () => select(() => true));
at('select-online').addEventListener('click', () => select((user) => user.online));
at('select-none').addEventListener('click', () => select(() => false));
at('users-more').addEventListener('click', () => {
  usersPages++;
  refreshUsers();
});
at('push-form').addEventListener('submit', onPush);
for (const id of ['kind-page', 'kind-message']) at(id).addEventListener('change', showKind);
document.addEventListener(
  'visibilitychange',
  () => key && document.visibilityState === 'hidden' && showLive('paused'),
);
addEventListener('hashchange', () => {
  if (takeKeyFromAddress()) openGate();
});

if (!takeKeyFromAddress()) {
  try {
    key = sessionStorage.getItem(KEPT) ?? '';
  } catch {
    // The same.
  }
}
showKind();
if (key) openGate();
else shutGate();
