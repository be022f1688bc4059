/** Which part of the console is shown, by the fragment of the address: `#/users/alice`. Not what is in it. */
import { at, setText } from './dom.js';
import { withdrawQuestions } from './question.js';

/** @typedef {{show: (name: string) => void, hide: () => void}} View */

export class Places {
  /** @type {Record<string, View>} */
  #views;
  /** @type {View | null} */
  #shown = null;
  #isOn = false;

  /** @param {Record<string, View>} views by the id of their sections; `user` belongs to `users` */
  constructor(views) {
    this.#views = views;
    addEventListener('hashchange', () => this.#isOn && this.#follow());
  }

  start() {
    this.#isOn = true;
    this.#follow();
  }

  stop() {
    this.#isOn = false;
    withdrawQuestions();
    this.#shown?.hide();
    this.#shown = null;
  }

  #follow() {
    const [list = '', name = ''] = location.hash.replace(/^#\/?/, '').split('/');
    const wanted = `${list}${name ? ':one' : ''}`;
    // What names no view, such as a key that was not taken out yet, is not shown.
    const isKnown = Object.hasOwn(this.#views, wanted);
    const [view, shown] = isKnown ? [wanted, decoded(name)] : ['users', ''];
    withdrawQuestions();
    this.#shown?.hide();
    for (const id of Object.keys(this.#views)) at(sectionOf(id)).hidden = id !== view;
    for (const link of at('places').querySelectorAll('a')) {
      const isHere = link.getAttribute('href') === `#/${view.split(':')[0]}`;
      if (isHere) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    this.#shown = this.#views[view];
    this.#shown.show(shown);
    setText(document.querySelector('title') ?? at('desk'), `${shown || TITLES[view]} · Encke`);
  }
}

/** @type {Record<string, string>} */
const TITLES = { users: 'Users', channels: 'Channels', pushes: 'Pushes', nodes: 'Nodes' };

/** @param {string} view */
const sectionOf = (view) => `view-${view.replace(':', '-')}`;

/** @param {string} name */
function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** The address of something. @param {'users' | 'channels' | 'pushes'} list @param {string} name */
export const placeOf = (list, name) => `#/${list}/${encodeURIComponent(name)}`;
