/** The latest pushes of one user, drawn as they come. Not how they are got. */
import { at, keep, make, setText } from './dom.js';
import { moment } from './format.js';
import { Look } from './look.js';
import { placeOf } from './places.js';
import { what } from './receipts.js';

/** What is said of how they come. */
const WORDS = { begins: '', live: 'live', rests: 'too much to be live', away: 'every few seconds' };

export class UserPushes {
  #look;

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#look = new Look(server, pace);
    this.#look.addEventListener('change', () => this.#draw());
  }

  /** @param {string} id @param {(error: Error) => void} failed */
  show(id, failed) {
    this.#look.start(id, failed);
    at('user-pushes').replaceChildren();
    at('user-pushes-empty').hidden = true;
  }

  hide() {
    this.#look.stop();
  }

  soon() {
    this.#look.soon();
  }

  #draw() {
    const { messages, state } = this.#look;
    at('user-live').dataset.state = state;
    setText(at('user-live'), WORDS[state]);
    at('user-pushes-empty').hidden = messages.length > 0 || state === 'begins';
    keep(at('user-pushes'), messages, (message) => message.id, createPush);
  }
}

/** @param {any} message */
function createPush({ id, url, data, time }) {
  const text = url ?? (typeof data === 'string' ? data : JSON.stringify(data));
  return make(
    'li',
    { 'data-push-of-user': id },
    make('div', {}, what(text), make('p', { class: 'quiet' }, moment(time))),
    make('a', { class: 'button small', href: placeOf('pushes', id) }, 'Receipts'),
  );
}
