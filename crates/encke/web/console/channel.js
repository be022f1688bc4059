/** One channel: what was published to it, who follows it, and a form that publishes. */
import { at, keep, make, problem, setText } from './dom.js';
import { count, moment, number } from './format.js';
import { readData } from './payload.js';
import { placeOf } from './places.js';
import { ask } from './question.js';
import { RequestId } from './request-id.js';
import { path } from './server.js';

const EVERY_MS = 2500;
const FOLLOWERS_EVERY_MS = 4000;
const PAGE_SIZE = 20;
const FOLLOWERS_SHOWN = 50;

export class Channel {
  #server;
  #pace;
  #name = '';
  /** What is shown, the newest first. @type {any[]} */
  #messages = [];
  #previous = '';
  /** @type {any[]} */
  #tasks = [];
  #followers = 0;
  #publishId = new RequestId();

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#server = server;
    this.#pace = pace;
    at('channel-older').addEventListener('click', () => this.#older());
    at('channel-delete').addEventListener('click', () => this.#delete());
    at('channel-form').addEventListener('submit', (/** @type {Event} */ event) => this.#publish(event));
    at('channel-form').addEventListener('input', () => problem('channel-form-error'));
  }

  /** @param {string} name */
  show(name) {
    this.#name = name;
    this.#messages = [];
    this.#previous = '';
    this.#followers = 0;
    setText(at('channel-name'), name);
    setText(at('channel-followers-count'), '');
    setText(at('channel-result'), '');
    for (const list of ['channel-messages', 'channel-followers']) at(list).replaceChildren();
    for (const id of ['channel-error', 'channel-form-error']) problem(id);
    const failed = (/** @type {Error} */ error) => problem('channel-error', error.message);
    this.#tasks = [
      this.#pace.every(EVERY_MS, () => this.#refresh(), failed),
      this.#pace.every(FOLLOWERS_EVERY_MS, () => this.#refreshFollowers(), failed),
    ];
  }

  hide() {
    this.#name = '';
    for (const task of this.#tasks) task.stop();
  }

  async #refresh() {
    const name = this.#name;
    const answer = await this.#server.get(path`/api/channels/${name}/history`, {
      before: 'latest',
      limit: PAGE_SIZE,
    });
    if (name !== this.#name) return;
    const newest = answer.messages.toReversed();
    const isContinued = newest.some((/** @type {any} */ one) => one.id === this.#messages[0]?.id);
    if (isContinued) {
      const ids = new Set(newest.map((/** @type {any} */ one) => one.id));
      this.#messages = [...newest, ...this.#messages.filter(({ id }) => !ids.has(id))];
    } else {
      this.#messages = newest;
      this.#previous = answer.previous ?? '';
    }
    problem('channel-error');
    this.#draw();
  }

  async #older() {
    const [name, before] = [this.#name, this.#previous];
    try {
      const answer = await this.#server.get(path`/api/channels/${name}/history`, {
        before,
        limit: PAGE_SIZE,
      });
      // Another channel may be shown by now, or this page was loaded by another click.
      if (name !== this.#name || before !== this.#previous) return;
      this.#messages.push(...answer.messages.toReversed());
      this.#previous = answer.previous ?? '';
      this.#draw();
    } catch (error) {
      if (name === this.#name) problem('channel-error', /** @type {Error} */ (error).message);
    }
  }

  #draw() {
    at('channel-older').hidden = this.#previous === '';
    at('channel-empty').hidden = this.#messages.length > 0;
    keep(at('channel-messages'), this.#messages, ({ id }) => id, createMessage);
  }

  async #refreshFollowers() {
    const name = this.#name;
    const { users, next } = await this.#server.get(path`/api/channels/${name}/presence`, {
      limit: FOLLOWERS_SHOWN,
    });
    if (name !== this.#name) return;
    this.#followers = users.length;
    setText(at('channel-followers-count'), `${number(users.length)}${next ? ' and more' : ''}`);
    at('channel-followers-empty').hidden = users.length > 0;
    keep(
      at('channel-followers'),
      users,
      ({ user }) => user,
      ({ user }) => make('li', {}, make('a', { href: placeOf('users', user) }, user)),
    );
  }

  /** @param {Event} event */
  async #publish(event) {
    event.preventDefault();
    const channel = this.#name;
    const text = at('channel-data').value.trim();
    const data = readData(text);
    if (text === '' || data === undefined)
      return problem(
        'channel-form-error',
        text ? 'This begins like JSON, and is none.' : 'Write a message first.',
      );
    at('channel-publish').disabled = true;
    try {
      const id = this.#publishId.of(channel, data);
      const { offset } = await this.#server.post('/api/publish', { channel, data, id });
      this.#publishId.accepted();
      if (channel === this.#name) this.#published(offset);
    } catch (error) {
      if (channel === this.#name) problem('channel-form-error', /** @type {Error} */ (error).message);
    }
    at('channel-publish').disabled = false;
  }

  /** @param {number} offset */
  #published(offset) {
    at('channel-data').value = '';
    setText(at('channel-result'), `Published as message ${number(offset)}.`);
    this.#tasks[0]?.soon();
  }

  async #delete() {
    const name = this.#name;
    const more = this.#followers >= FOLLOWERS_SHOWN ? ' or more' : '';
    const sure = await ask({
      title: `Delete ${name}?`,
      text:
        `All its messages are gone, and ${count(this.#followers, 'user')}${more} who follow it are told. ` +
        'That cannot be undone.',
      yes: 'Delete 1 channel',
    });
    if (!sure) return;
    try {
      await this.#server.delete(path`/api/channels/${name}`);
      setText(at('said'), `Deleted ${name}.`);
      if (name === this.#name) location.hash = '#/channels';
    } catch (error) {
      if (name === this.#name) problem('channel-error', /** @type {Error} */ (error).message);
    }
  }
}

/** @param {any} message */
function createMessage({ id, offset, time, from, data, url }) {
  const text = url ?? (typeof data === 'string' ? data : JSON.stringify(data));
  const head = make('p', { class: 'quiet' }, `${number(offset)} · ${moment(time)}`);
  if (from) head.append(' · from ', make('a', { href: placeOf('users', from) }, from));
  return make('li', { 'data-message': id }, head, make('p', { class: 'data' }, text));
}
