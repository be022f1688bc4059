/**
 * The cursor: how far a receiver has come in each of its channels, as text. `docs/PROTOCOL.md` has the
 * grammar.
 */

/**
 * How far a receiver has come in one channel.
 * @typedef {{epoch: string, offset: number}} Position
 */

const EPOCH = '([\\w-]+)';
const ENTRY = '~((?:[\\w.:@/-]|![\\da-f]{2})+)~(0|[1-9]\\d{0,15})(?::' + EPOCH + ')?';
/** A part left over behind the entries, which are pairs, can only be the mark of a closed session. */
const CURSOR = new RegExp('^1~' + EPOCH + '((?:' + ENTRY + ')*)(~closed)?$');

/**
 * Outside of names these bytes mean something, or would be encoded twice in an address.
 * @param {string} name
 */
const encodeName = (name) =>
  encodeURIComponent(name)
    .replace(/%(2F|3A|40)/g, decodeURIComponent)
    .replace(/[!~*'()]/g, (char) => '%' + char.charCodeAt(0).toString(16))
    .replace(/%../g, (byte) => '!' + byte.slice(1).toLowerCase());

/**
 * Reads a cursor. The answer is null when it is malformed or of a version that this client does not know; it
 * is then only good for handing back.
 * @param {string} text
 * @returns {{epoch: string, positions: Map<string, Position>, closed: boolean} | null}
 */
export function parseCursor(text) {
  const [whole, epoch, entries, , , , closed] = CURSOR.exec(text) ?? [];
  if (!whole) return null;
  /** @type {Map<string, Position>} */
  const positions = new Map();
  for (const [, encoded, offset, own] of entries.matchAll(new RegExp(ENTRY, 'g'))) {
    let name;
    try {
      name = decodeURIComponent(encoded.replaceAll('!', '%'));
    } catch {
      return null; // It is not UTF-8.
    }
    if (positions.has(name)) return null;
    positions.set(name, { epoch: own ?? epoch, offset: +offset });
  }
  return { epoch, positions, closed: !!closed };
}

/**
 * Whether one has not come as far as another, or cannot be compared with it.
 * @param {Position | undefined} known @param {Position} at
 */
export const isBehind = (known, at) => known?.epoch !== at.epoch || known.offset < at.offset;

/** The positions that a cursor names, as far as it can be read. @param {string | null | undefined} text */
export const positionsIn = (text) => parseCursor(text ?? '')?.positions ?? new Map();

/**
 * Writes a cursor from positions. The leading epoch is the given one when a channel still has it, since that
 * keeps the cursor short.
 * @param {Iterable<[string, Position]>} positions
 * @param {string} [leading]
 * @returns {string | null} null when there is no position to tell.
 */
export function formatCursor(positions, leading) {
  const entries = [...positions];
  if (!entries.length) return null;
  const epoch = leading ?? entries[0][1].epoch;
  return entries.reduce(
    (text, [name, at]) =>
      text + '~' + encodeName(name) + '~' + at.offset + (at.epoch === epoch ? '' : ':' + at.epoch),
    '1~' + epoch,
  );
}
