/** What a client follows, and how far it has come in each channel. */
import { formatCursor, isBehind, parseCursor, positionsIn } from './cursor.js';

/** @typedef {import('./cursor.js').Position} Position */

/** Whether a channel is a user's own, which is followed without being asked for. @param {string} channel */
export const isOwn = (channel) => channel.startsWith('@');

export class Positions {
  /** @type {Map<string, Position>} */
  at = new Map();
  /** @type {string | undefined} */
  #epoch;
  /**
   * A cursor that is handed back as it is: `earliest`, or one of a version that this client can not read.
   * @type {string | null}
   */
  opaque = null;
  /** @type {Set<string>} */
  #wanted;
  /**
   * Channels that were unsubscribed. What is still under way from them must not bring them back into the
   * cursor.
   * @type {Set<string>}
   */
  unwanted = new Set();
  /** The channels that the current connection was asked for. @type {Set<string>} */
  #asked = new Set();

  /** @param {readonly string[]} [channels] those that are wanted, without the user's own */
  constructor(channels) {
    this.#wanted = new Set(channels);
  }

  /** Where to go on, in all channels. @returns {string | null} */
  get cursor() {
    return this.opaque ?? formatCursor(this.at, this.#epoch);
  }

  /** The channels asked for, without the user's own. @returns {string[]} */
  get channels() {
    return [...this.#wanted];
  }

  /** The user whose own channel is among them. @returns {string | null} */
  get user() {
    return [...this.at.keys()].find(isOwn)?.slice(1) ?? null;
  }

  /** @param {string[]} channels @returns {() => void} gives up those of them that were not wanted before. */
  want(channels) {
    const added = channels.filter((channel) => !this.#wanted.has(channel));
    const refuse = this.expect(added);
    for (const channel of added) this.#wanted.add(channel);
    return () => {
      for (const channel of added) this.#wanted.delete(channel);
      refuse();
    };
  }

  /**
   * What comes of these counts from here on; a connection is not asked for them yet.
   * @param {string[]} channels @returns {() => void} it does not, where it did not before.
   */
  expect(channels) {
    const before = channels.filter((channel) => this.unwanted.delete(channel));
    return () => before.forEach((channel) => this.unwanted.add(channel));
  }

  /** @param {string[]} channels */
  unwant(channels) {
    for (const channel of channels) {
      this.drop(channel);
      this.unwanted.add(channel);
    }
  }

  /** The server does not follow this channel any more. @param {string} channel */
  drop(channel) {
    this.#wanted.delete(channel);
    this.at.delete(channel);
  }

  /** Whether this channel is one of those that are followed. @param {string} channel */
  follows(channel) {
    return isOwn(channel) || this.#wanted.has(channel) || this.at.has(channel);
  }

  /**
   * Where a connection begins that goes on here.
   * @returns {{cursor: string | null, channels: string[]}} the cursor, and the channels that it does not name
   */
  begin() {
    this.#asked = new Set(this.#wanted);
    return { cursor: this.cursor, channels: this.channels.filter((channel) => !this.at.has(channel)) };
  }

  /** The same, for another to go on with. */
  copy() {
    const copy = new Positions(this.channels);
    copy.at = new Map(this.at);
    copy.#epoch = this.#epoch;
    copy.unwanted = new Set(this.unwanted);
    return copy;
  }

  /**
   * Takes in what another follows, so that a connection that goes on here serves both.
   * @param {string | null} cursor @param {string[]} channels
   * @returns {{behind: boolean, added: string[]}} whether the other is behind what has come already, and the
   * channels that are new and without a position: they are not taken in, since they may be refused
   */
  merge(cursor, channels) {
    let behind = false;
    for (const [channel, at] of positionsIn(cursor)) {
      const known = this.at.get(channel);
      if (known && !isBehind(at, known)) continue;
      if (!isOwn(channel)) this.want([channel]);
      this.at.set(channel, at);
      this.#epoch ??= at.epoch;
      behind = true;
    }
    return { behind, added: channels.filter((channel) => !this.follows(channel)) };
  }

  /**
   * Takes over the positions of a cursor in those channels that have none yet.
   * @param {string | null} cursor where a connection is that others began, or the place of this browser
   */
  join(cursor) {
    this.#epoch ??= parseCursor(cursor ?? '')?.epoch;
    for (const [channel, at] of positionsIn(cursor))
      if (this.follows(channel) && !this.at.has(channel)) this.at.set(channel, at);
  }

  /** What came of this channel means nothing any more. @param {string} channel */
  restart(channel) {
    if (!isOwn(channel)) this.#wanted.add(channel);
    this.at.delete(channel);
  }

  /** The channels that were subscribed or unsubscribed while the connection's request was under way. */
  late() {
    return {
      wanted: this.channels.filter((channel) => !this.#asked.has(channel)),
      unwanted: [...this.unwanted].filter((channel) => this.#asked.has(channel)),
    };
  }

  /**
   * Takes over the positions of a cursor that the server gave. It never moves back within an epoch.
   * @param {string} text
   */
  adopt(text) {
    const cursor = parseCursor(text);
    this.opaque = cursor ? null : text;
    if (!cursor) return;
    this.#epoch = cursor.epoch;
    for (const [channel, at] of cursor.positions) this.pass({ channel, ...at });
  }

  /**
   * Moves to a position, as behind a message.
   * @param {{channel: string, offset: number, epoch: string}} message
   * @returns {boolean} whether it is wanted, and new.
   */
  pass({ channel, offset, epoch }) {
    const at = { epoch, offset };
    const isNew = !this.unwanted.has(channel) && isBehind(this.at.get(channel), at);
    if (isNew) this.at.set(channel, at);
    return isNew;
  }

  /**
   * Moves behind a gap.
   * @param {{channel: string, to: any}} gap
   * @returns {boolean} whether it is wanted, and new.
   */
  skip({ channel, to }) {
    const known = this.at.get(channel);
    if (known && Number.isSafeInteger(to)) return this.pass({ channel, epoch: known.epoch, offset: to });
    return !this.unwanted.has(channel);
  }

  /**
   * The server does not accept the cursor, so it is not known what was missed.
   * @returns {Array<[string, Position]>} where each channel was.
   */
  forget() {
    const lost = [...this.at];
    this.opaque = null;
    this.#epoch = undefined;
    for (const [channel] of lost) this.restart(channel);
    return lost;
  }
}
