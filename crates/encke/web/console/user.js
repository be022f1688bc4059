/** One user: sessions, what was pushed, and what an operator may do about it. Not the list of users. */
import { at, button, keep, make, problem, setText } from './dom.js';
import { ago, clock, count, moment } from './format.js';
import { ask } from './question.js';
import { path } from './server.js';
import { UserPushes } from './user-pushes.js';
import { closeSessions } from './users.js';

const EVERY_MS = 2500;
const SESSIONS_MAX = 50;

export class User {
  #server;
  #pace;
  #pushes;
  #id = '';
  /** @type {any[]} */
  #tasks = [];

  /**
   * @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace
   * @param {import('./selection.js').Selection} selection
   */
  constructor(server, pace, selection) {
    this.#server = server;
    this.#pace = pace;
    this.#pushes = new UserPushes(server, pace);
    at('user-push').addEventListener('click', () => {
      selection.only([this.#id]);
      at('to-selected').checked = true;
      location.hash = '#/users';
    });
    at('user-close').addEventListener('click', () => this.#then((id) => closeSessions(server, id)));
    at('user-ban').addEventListener('click', () => this.#then((id) => this.#ban(id)));
    at('user-unban').addEventListener('click', () => this.#then((id) => this.#unban(id)));
    at('user-revoke').addEventListener('click', () => this.#then((id) => this.#revoke(id)));
    at('user-delete').addEventListener('click', () => this.#then((id) => this.#delete(id)));
  }

  /** @param {string} id */
  show(id) {
    this.#id = id;
    setText(at('user-name'), id);
    setText(at('user-about'), '');
    setText(at('said'), '');
    at('user-sessions').replaceChildren();
    problem('user-error');
    const failed = (/** @type {Error} */ error) => problem('user-error', error.message);
    this.#tasks = [
      this.#pace.every(EVERY_MS, () => this.#refreshUser(), failed),
      this.#pace.every(EVERY_MS, () => this.#refreshSessions(), failed),
    ];
    this.#pushes.show(id, failed);
  }

  hide() {
    this.#id = '';
    for (const task of this.#tasks) task.stop();
    this.#pushes.hide();
  }

  async #refreshUser() {
    const id = this.#id;
    const user = await this.#server.get(path`/api/users/${id}`);
    if (id !== this.#id) return;
    problem('user-error');
    at('view-users-one').dataset.online = String(user.online);
    const seen = user.online
      ? `online in ${count(user.sessions, 'session')}`
      : `last seen ${ago(user.last_seen)}`;
    setText(at('user-about'), `${seen} · known since ${moment(user.first_seen)}`);
    at('user-close').hidden = user.sessions === 0;
  }

  async #refreshSessions() {
    const id = this.#id;
    const { sessions, next } = await this.#server.get('/api/sessions', { user: id, limit: SESSIONS_MAX });
    if (id !== this.#id) return;
    at('user-sessions-empty').hidden = sessions.length > 0;
    at('user-sessions-more').hidden = !next;
    keep(
      at('user-sessions'),
      sessions,
      (session) => session.session,
      (session) => this.#createSession(session),
      updateSession,
    );
  }

  /** @param {any} session */
  #createSession({ session }) {
    const close = button(
      'Close',
      { class: 'small danger', 'data-close-session': session, 'aria-label': `Close session ${session}` },
      () => this.#then((id) => this.#closeSession(id, session)),
    );
    return make(
      'li',
      { 'data-session': session },
      make('div', {}, make('code', {}, session), make('p', { class: 'about quiet' })),
      close,
    );
  }

  /**
   * Does something, and looks at what came of it. Another user may be shown before that is over.
   * @param {(id: string) => Promise<unknown>} action to the user who is shown when it begins
   */
  async #then(action) {
    const id = this.#id;
    problem('user-error');
    try {
      await action(id);
    } catch (error) {
      if (id === this.#id) problem('user-error', /** @type {Error} */ (error).message);
    }
    for (const task of this.#tasks) task.soon();
    this.#pushes.soon();
  }

  /** @param {string} id @param {string} session */
  async #closeSession(id, session) {
    const sure = await ask({
      title: 'Close this session?',
      text: `One tab or device of ${id} ends, and does not come back by itself.`,
      yes: 'Close 1 session',
    });
    if (!sure) return;
    const { closed } = await this.#server.post('/api/close', { session });
    setText(at('said'), closed ? `Closed session ${session}.` : 'This session had ended already.');
  }

  /** @param {string} id */
  async #ban(id) {
    const choice = at('user-ban-for');
    const time = choice.selectedOptions[0].textContent;
    const ban_s = Number(choice.value);
    const sure = await ask({
      title: `Keep ${id} away?`,
      text:
        `All sessions of ${id} end, and every request of this user is refused for ${time}. ` +
        'It can be lifted before.',
      yes: `Ban 1 user for ${time}`,
    });
    if (!sure) return;
    const { closed } = await this.#server.post('/api/close', { user: id, ban_s });
    setText(at('said'), `${id} is kept away for ${time}; ${count(closed, 'session')} closed.`);
  }

  /** @param {string} id */
  async #unban(id) {
    await this.#server.post('/api/close', { user: id, ban_s: 0 });
    setText(at('said'), `${id} may come back.`);
  }

  /** @param {string} id */
  async #revoke(id) {
    const sure = await ask({
      title: `Revoke the tokens of ${id}?`,
      text:
        'Every token of this user that was issued until now is refused from now on, and its sessions end. ' +
        'That cannot be undone; the user may log in again.',
      yes: 'Revoke the tokens of 1 user',
    });
    if (!sure) return;
    const { closed } = await this.#server.post('/api/revoke', { user: id });
    setText(at('said'), `Tokens of ${id} revoked; ${count(closed, 'session')} closed.`);
  }

  /** @param {string} id */
  async #delete(id) {
    const sure = await ask({
      title: `Delete ${id}?`,
      text:
        `All sessions end, and what was pushed to ${id}, its receipts, and that this user was ever ` +
        'here are gone. That cannot be undone.',
      yes: 'Delete 1 user',
    });
    if (!sure) return;
    await this.#server.delete(path`/api/users/${id}`);
    if (id === this.#id) location.hash = '#/users';
    setText(at('said'), `Deleted ${id}.`);
  }
}

/** @param {any} row @param {any} session */
function updateSession(row, { transport, since, lag, channels, connected, node }) {
  const own = channels.filter((/** @type {string} */ name) => !name.startsWith('@'));
  const about = [
    connected ? transport : `${transport}, between two connections`,
    `since ${clock(since)}`,
    `on ${node}`,
    lag ? `${count(lag, 'message')} behind` : '',
    own.join(', '),
  ];
  setText(row.querySelector('.about'), about.filter(Boolean).join(' · '));
}
