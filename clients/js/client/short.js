/**
 * The short form of messages: arrays, in which what does not change is left out. `docs/PROTOCOL.md` has the
 * table. All transports hand on messages in the long form.
 */
import { bytesOf } from './base64.js';

/** How many characters of an id are the time, in quarters of milliseconds. */
const TIME_CHARS = 9;

/**
 * When an id was made, in milliseconds: the first 52 of 54 bits.
 * @param {string} id
 */
function timeOf(id) {
  const bytes = bytesOf(id.slice(0, TIME_CHARS) + 'AAA');
  return bytes.slice(0, 6).reduce((time, byte) => time * 256 + byte, 0) * 16 + (bytes[6] >> 4);
}

export class ShortForm {
  #user = '';
  /** @type {string | undefined} */
  #epoch;

  /** Takes note of what a connection says once. @param {{user?: string, epoch?: string}} said */
  begin({ user = this.#user, epoch }) {
    this.#user = user;
    this.#epoch = epoch;
  }

  /**
   * @param {any} event a message in either form, or anything else that comes
   * @returns {any} the same in the long form. A message of a kind that is not known has no `type`.
   */
  read(event) {
    if (!Array.isArray(event)) return event;
    const [channel, offset, time, body, kind = 0, from, epoch, trace, id] =
      typeof event[0] === 'number' ? this.#own(event) : event;
    return {
      event: 'message',
      ...(id && { id }),
      channel,
      offset,
      epoch: epoch || this.#epoch,
      time: new Date(time).toISOString(),
      type: ['message', 'page', 'page'][kind],
      [kind > 0 ? 'url' : 'data']: body,
      ...(kind === 2 && { show: 'window' }),
      ...(from && { from }),
      ...(trace && { traceparent: trace }),
    };
  }

  /** A message of the own channel, in the order of the others, and with its id. @param {any[]} event */
  #own([offset, id, body, kind, from, epoch, time, trace]) {
    return ['@' + this.#user, offset, time || timeOf(id), body, kind, from, epoch, trace, id];
  }
}
