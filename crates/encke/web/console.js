/**
 * The operators' console: who may in, and which parts there are. It uses the server API and nothing else. All
 * that comes from outside is shown as text nodes; an address becomes a link only when it is http or https.
 */
import { Access } from './console/access.js';
import { AddressCheck } from './console/address-check.js';
import { Channel } from './console/channel.js';
import { Channels } from './console/channels.js';
import { Composer } from './console/composer.js';
import { at, problem, setText } from './console/dom.js';
import { Feed } from './console/feed.js';
import { Nodes } from './console/nodes.js';
import { OnePush } from './console/one-push.js';
import { Pace } from './console/pace.js';
import { Places } from './console/places.js';
import { PushLog } from './console/push-log.js';
import { Pushes } from './console/pushes.js';
import { Selection } from './console/selection.js';
import { Server } from './console/server.js';
import { User } from './console/user.js';
import { Users } from './console/users.js';

const server = new Server();
const pace = new Pace(server);
const access = new Access();
const selection = new Selection();
const log = new PushLog(server);
const users = new Users(server, pace, selection);
const feed = new Feed(server, pace, log);
const both = {
  show: () => (users.show(), feed.show()),
  hide: () => (users.hide(), feed.hide()),
};
const places = new Places({
  users: both,
  'users:one': new User(server, pace, selection),
  channels: new Channels(server, pace),
  'channels:one': new Channel(server, pace),
  pushes: new Pushes(server, pace),
  'pushes:one': new OnePush(server, pace),
  nodes: new Nodes(server, pace),
});
const addressCheck = new AddressCheck(server);
new Composer(server, selection, (sent, text) => {
  log.add(sent, text);
  feed.soon();
});

// -- who may in

/** @param {string} [why] */
function shutGate(why = '') {
  server.key = '';
  access.forget();
  log.clear();
  pace.stop();
  places.stop();
  for (const id of ['desk', 'actions', 'live', 'places']) at(id).hidden = true;
  at('gate').hidden = false;
  problem('key-error', why);
  at('key').focus();
}

/** @param {string} key @param {boolean} [isLasting] as it was kept, when absent */
async function openGate(key, isLasting) {
  problem('key-error');
  at('key-button').disabled = true;
  server.key = key;
  try {
    await server.get('/api/users', { limit: 1 });
    addressCheck.reset();
    access.keep(key, isLasting);
    at('key').value = '';
    at('gate').hidden = true;
    for (const id of ['desk', 'actions', 'live', 'places']) at(id).hidden = false;
    pace.start();
    places.start();
  } catch (error) {
    const { status, message } = /** @type {import('./console/server.js').ApiError} */ (error);
    // A key that was refused has shown the form by itself; without an answer it may still be right.
    if (status !== 401) {
      at('gate').hidden = false;
      problem('key-error', message);
    }
  } finally {
    at('key-button').disabled = false;
  }
}

server.addEventListener('refused', () => shutGate('This key is not the right one.'));
access.addEventListener('ended', (/** @type {any} */ { detail }) => shutGate(detail));
at('key-form').addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const key = at('key').value.trim();
  if (key) openGate(key, at('key-stays').checked);
  else problem('key-error', 'Type the key first.');
});
at('key-form').addEventListener('input', () => problem('key-error'));
at('forget-button').addEventListener('click', () => {
  shutGate();
  // What was shown and typed goes with the page, and with what the browser keeps of it to go back to.
  for (const form of document.forms) form.reset();
  location.reload();
});
addEventListener('hashchange', () => {
  const key = Access.fromAddress();
  if (key) openGate(key, false);
});

// -- whether the server answers

let countdown = 0;

function showState() {
  const { state, retryAt, why } = pace;
  at('live').dataset.state = state;
  clearInterval(countdown);
  at('retry-button').hidden = state !== 'lost';
  at('lost').hidden = state !== 'lost';
  if (state !== 'lost') return setText(at('live'), { live: 'Live', paused: 'Paused' }[state] ?? '');
  setText(at('live'), 'Not reached');
  const tell = () => {
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    setText(at('lost-text'), `${why} ${seconds ? `Next try in ${seconds} s.` : 'Trying …'}`);
  };
  tell();
  countdown = setInterval(tell, 1000);
}

pace.addEventListener('state', showState);
at('retry-button').addEventListener('click', () => pace.retry());

// -- the keyboard

addEventListener('keydown', (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const isTyping = target.closest('input:not([type=checkbox], [type=radio]), textarea, select, dialog');
  if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = [...document.querySelectorAll('input[type=search]')].find((one) => one.checkVisibility());
  if (!field) return;
  event.preventDefault();
  /** @type {HTMLInputElement} */ (field).select();
});

const given = Access.fromAddress();
const kept = access.kept();
if (given) openGate(given, false);
else if (kept) openGate(kept);
else shutGate();
