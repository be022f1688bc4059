/** The form that pushes: to whom, what, how long it is kept. Not how it is read or sent. */
import { at, problem, setText } from './dom.js';
import { count, number, someOf } from './format.js';
import { namesIn, unknownOf } from './names.js';
import { preview, readPayload } from './payload.js';
import { ask } from './question.js';
import { RequestId } from './request-id.js';
import { Sending } from './sending.js';

/** A push to more users than that is asked about first. */
const UNASKED_MAX = 10;
/** Of a file with names, in bytes. */
const FILE_MAX = 16 * 1024 * 1024;

export class Composer {
  #server;
  #selection;
  #pushed;
  /** What was not accepted as a whole, and what the form said then. */
  #failed = { form: '', sending: /** @type {Sending | null} */ (null) };
  #publishId = new RequestId();

  /**
   * @param {import('./server.js').Server} server
   * @param {import('./selection.js').Selection} selection
   * @param {(sent: import('./sending.js').Sent, text: string) => void} pushed
   */
  constructor(server, selection, pushed) {
    this.#server = server;
    this.#selection = selection;
    this.#pushed = pushed;
    const form = at('push-form');
    form.addEventListener('submit', (/** @type {Event} */ event) => this.#onSubmit(event));
    for (const type of ['input', 'change']) form.addEventListener(type, () => this.#changed());
    at('preview-button').addEventListener('click', () => this.#preview());
    at('push-file').addEventListener('change', () => this.#readFile());
    selection.addEventListener('change', () => this.#show());
    this.#changed();
  }

  get #target() {
    return at('push-form').elements.to.value;
  }

  /** What the form says of whom a push is for, before it is looked up who that is. */
  get #toSaid() {
    const target = this.#target;
    return [
      target,
      target === 'selected' ? this.#selection.choice : '',
      target === 'names' ? at('push-names').value : '',
    ];
  }

  /** What the form says is another. */
  #changed() {
    setText(at('push-result'), '');
    at('push-preview').hidden = true;
    at('push-preview').replaceChildren();
    at('preview-button').setAttribute('aria-expanded', 'false');
    this.#show();
  }

  #show() {
    problem('push-error');
    const target = this.#target;
    const isPage = at('kind-page').checked && target !== 'channel';
    if (target === 'channel') at('kind-message').checked = true;
    at('kind-page').disabled = target === 'channel';
    at('url-field').hidden = !isPage;
    at('data-field').hidden = isPage;
    at('names-field').hidden = target !== 'names';
    at('channel-field').hidden = target !== 'channel';
    at('ttl-field').hidden = target === 'channel';
    setText(at('selected-count'), number(this.#selection.count));
    setText(at('selected-rule'), target === 'selected' ? this.#selection.description : '');
    setText(at('names-count'), count(namesIn(at('push-names').value).length, 'name'));
    setText(at('push-button'), target === 'channel' ? 'Publish' : 'Push');
  }

  #preview() {
    if (!at('push-preview').hidden) return this.#changed();
    const read = readPayload();
    if ('wrong' in read) return problem('push-error', read.wrong);
    preview(at('push-preview'), read.payload);
    at('push-preview').hidden = false;
    at('preview-button').setAttribute('aria-expanded', 'true');
  }

  async #readFile() {
    const [file] = at('push-file').files;
    if (!file) return;
    if (file.size > FILE_MAX) return problem('push-error', 'This file is larger than 16 MiB.');
    at('push-names').value = namesIn(await file.text()).join('\n');
    this.#changed();
  }

  /** @param {Event} event */
  async #onSubmit(event) {
    event.preventDefault();
    problem('push-error');
    setText(at('push-result'), '');
    at('push-button').disabled = true;
    try {
      await (this.#target === 'channel' ? this.#publish() : this.#push());
    } catch (error) {
      problem('push-error', /** @type {Error} */ (error).message);
    }
    at('push-button').disabled = false;
  }

  async #push() {
    const read = readPayload();
    if ('wrong' in read) return problem('push-error', read.wrong);
    // What has failed on its way goes on, to those that it was for: by now other users may match.
    const form = JSON.stringify([this.#toSaid, read.payload]);
    let sending = this.#failed.form === form ? this.#failed.sending : null;
    if (sending === null) {
      const to = await this.#whom();
      if (to === null) return;
      sending = new Sending(to, read.payload);
    }
    this.#failed = { form, sending };
    const sent = await sending.run(this.#server, (done, of) => {
      if (of > 1) setText(at('push-result'), `Sending part ${done + 1} of ${of} …`);
    });
    this.#failed = { form: '', sending: null };
    const least = sent.isTruncated ? 'at least ' : '';
    const kept = sent.mode === 'memory' ? 'kept in memory' : `kept by ${sent.mode}`;
    setText(
      at('push-result'),
      `Accepted for ${number(sent.accepted)}: ${least}${number(sent.online)} online, ` +
        `${least}${number(sent.offline)} offline; ${kept}.`,
    );
    this.#pushed(sent, read.text);
  }

  /** Whom the push is for; null when the operator thinks better of it. */
  async #whom() {
    const target = this.#target;
    if (target === 'names') return this.#named();
    if (target === 'selected') {
      const { count: chosen, isByRule, description } = this.#selection;
      if (chosen === 0) return wrong('Choose a user first.');
      if (isByRule || chosen > UNASKED_MAX) if (!(await this.#sure(chosen, description))) return null;
      const to = await this.#selection.target(this.#server);
      return to.length === 0 ? wrong('No user matches any more.') : to;
    }
    const { total } = await this.#server.get('/api/users', {
      limit: 1,
      count: true,
      online: target === 'online' || undefined,
    });
    if (total === 0) return wrong(target === 'online' ? 'No user is online.' : 'No user is known.');
    return (await this.#sure(total, target === 'online' ? 'all who are online' : 'all who are known'))
      ? target
      : null;
  }

  async #named() {
    const names = namesIn(at('push-names').value);
    if (names.length === 0) return wrong('Paste some names first, or choose a file.');
    setText(at('push-result'), 'Looking for these users …');
    const unknown = await unknownOf(this.#server, names);
    setText(at('push-result'), '');
    if (unknown.length === 0)
      return names.length <= UNASKED_MAX || (await this.#sure(names.length, '')) ? names : null;
    const known = names.filter((name) => !unknown.includes(name));
    const answer = await ask({
      title: `${count(unknown.length, 'unknown user')}`,
      text: `There is no ${someOf(unknown)}. A push to a new name is kept for when that user comes.`,
      yes: known.length ? `Push to the ${number(known.length)} known` : 'Go back',
      other: `Push to all ${number(names.length)}`,
    });
    if (answer === 'other') return names;
    return answer === 'yes' && known.length ? known : null;
  }

  /** @param {number} concerned @param {string} who */
  #sure(concerned, who) {
    return ask({
      title: `Push to ${count(concerned, 'user')}?`,
      text:
        (who ? `It goes to ${who}. ` : '') +
        'What is still queued can be cancelled afterwards; what was delivered cannot.',
      yes: `Push to ${count(concerned, 'user')}`,
    });
  }

  async #publish() {
    const channel = at('push-channel').value.trim();
    if (channel === '') return wrong('Name a channel first.');
    const read = readPayload();
    if ('wrong' in read) return problem('push-error', read.wrong);
    if (!(await isThere(this.#server, channel))) {
      const sure = await ask({
        title: 'Unknown channel',
        text: `Nothing was published to ${channel} so far, and no user follows it. Publishing makes it.`,
        yes: `Make ${channel}`,
      });
      if (!sure) return;
    }
    const { data } = read.payload;
    const id = this.#publishId.of(channel, data);
    const { offset } = await this.#server.post('/api/publish', { channel, data, id });
    this.#publishId.accepted();
    setText(at('push-result'), `Published to ${channel} as message ${number(offset)}.`);
  }
}

/** @param {string} text @returns {never} */
function wrong(text) {
  throw new Error(text);
}

/**
 * Whether a channel holds anything or has followers.
 * @param {import('./server.js').Server} server @param {string} channel
 */
async function isThere(server, channel) {
  const of = `/api/channels/${encodeURIComponent(channel)}`;
  const { users } = await server.get(`${of}/presence`, { limit: 1 });
  if (users.length) return true;
  const { messages } = await server.get(`${of}/history`, { before: 'latest', limit: 1 });
  return messages.length > 0;
}
