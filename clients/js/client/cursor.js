/**
 * The cursor: how far a receiver has come in each of its channels, as text. `docs/PROTOCOL.md` has the
 * grammar.
 */

/**
 * How far a receiver has come in one channel.
 * @typedef {{epoch: string, offset: number}} Position
 */

const PLAIN_IN_NAME = /^[A-Za-z0-9\-._:@/]$/;
const EPOCH = /^[A-Za-z0-9_-]+$/;
const ENTRY_POSITION = /^(0|[1-9][0-9]{0,15})(?::([A-Za-z0-9_-]+))?$/;

/** @param {string} name */
function encodeName(name) {
  let out = '';
  for (const byte of new TextEncoder().encode(name)) {
    const char = String.fromCharCode(byte);
    out += PLAIN_IN_NAME.test(char) ? char : '!' + byte.toString(16).padStart(2, '0');
  }
  return out;
}

/** @param {string} text @returns {string | null} */
function decodeName(text) {
  const bytes = [];
  for (let i = 0; i < text.length; i++) {
    if (PLAIN_IN_NAME.test(text[i])) {
      bytes.push(text.charCodeAt(i));
    } else if (text[i] === '!' && /^[0-9a-f]{2}$/.test(text.slice(i + 1, i + 3))) {
      bytes.push(parseInt(text.slice(i + 1, i + 3), 16));
      i += 2;
    } else {
      return null;
    }
  }
  try {
    return bytes.length
      ? new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes))
      : null;
  } catch {
    return null;
  }
}

/**
 * Reads a cursor. The answer is null when it is malformed or of a version that this client does not know; it
 * is then only good for handing back.
 * @param {string} text
 * @returns {{epoch: string, positions: Map<string, Position>, closed: boolean} | null}
 */
export function parseCursor(text) {
  const [version, epoch, ...rest] = text.split('~');
  if (version !== '1' || epoch === undefined || !EPOCH.test(epoch)) return null;
  // Entries come in pairs, so a single part left over can only be the mark of a closed session.
  const closed = rest.length % 2 === 1;
  if (closed && rest.pop() !== 'closed') return null;
  /** @type {Map<string, Position>} */
  const positions = new Map();
  for (let i = 0; i < rest.length; i += 2) {
    const name = decodeName(rest[i]);
    const match = ENTRY_POSITION.exec(rest[i + 1]);
    if (name === null || match === null || positions.has(name)) return null;
    positions.set(name, { epoch: match[2] ?? epoch, offset: Number(match[1]) });
  }
  return { epoch, positions, closed };
}

/**
 * Writes a cursor from positions. The leading epoch is the given one when a channel still has it, since that
 * keeps the cursor short.
 * @param {Iterable<[string, Position]>} positions
 * @param {string} [leading]
 * @returns {string | null} null when there is no position to tell.
 */
export function formatCursor(positions, leading) {
  const entries = [...positions];
  if (entries.length === 0) return null;
  const epoch = leading ?? entries[0][1].epoch;
  let text = '1~' + epoch;
  for (const [name, at] of entries) {
    text += '~' + encodeName(name) + '~' + at.offset + (at.epoch === epoch ? '' : ':' + at.epoch);
  }
  return text;
}
