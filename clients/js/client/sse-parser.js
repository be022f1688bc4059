/** The format of server-sent events. */
import { EnckeError } from './error.js';

/**
 * No line of Encke's comes near this; a peer that sends more is not an Encke server, and must not fill the
 * memory.
 */
const MAX_EVENT_CHARS = 4 * 1024 * 1024;

/**
 * An incremental parser of `text/event-stream`, as the HTML standard writes it down: lines end with CR, LF or
 * CRLF wherever the chunks are cut, an event is dispatched by an empty line, and what the end of the stream
 * leaves unfinished is dropped.
 */
export class SseParser {
  #onEvent;
  /** A byte order mark is left to the parser, or two of them would both be taken away. */
  #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  /**
   * The beginning of a line whose end has not come yet, in pieces, so that a long line costs no repeated
   * copying.
   * @type {string[]}
   */
  #pieces = [];
  #pieceChars = 0;
  #skipLineFeed = false;
  #atStart = true;
  /** @type {string[]} */
  #data = [];
  #dataChars = 0;
  #event = '';
  #id = '';
  #lastEventId = '';

  /** @param {(event: {event: string, data: string, lastEventId: string}) => void} onEvent */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /**
   * The id in force after the last complete block; a block of an id alone moves it without being an event.
   */
  get lastEventId() {
    return this.#lastEventId;
  }

  /** @param {string | Uint8Array} chunk text, or bytes that may be cut within a character */
  push(chunk) {
    let text = typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true });
    if (text === '') return;
    if (this.#atStart) {
      this.#atStart = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    let from = 0;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      const skip = this.#skipLineFeed && code === 10;
      this.#skipLineFeed = code === 13;
      if (skip) {
        from = i + 1;
      } else if (code === 13 || code === 10) {
        this.#pieces.push(text.slice(from, i));
        const line = this.#pieces.join('');
        this.#pieces = [];
        this.#pieceChars = 0;
        from = i + 1;
        this.#line(line);
      }
    }
    if (from < text.length) {
      this.#pieces.push(text.slice(from));
      this.#pieceChars += text.length - from;
    }
    if (this.#pieceChars + this.#dataChars > MAX_EVENT_CHARS)
      throw new EnckeError('too_large', 'an event is larger than any server would send');
  }

  /** @param {string} line */
  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') {
      this.#data.push(value);
      this.#dataChars += value.length;
    } else if (field === 'event') {
      this.#event = value;
    } else if (field === 'id' && !value.includes('\0')) {
      this.#id = value;
    }
    // `retry` is for an EventSource; this client has its own pauses.
  }

  #dispatch() {
    const [data, event] = [this.#data, this.#event];
    this.#data = [];
    this.#event = '';
    this.#dataChars = 0;
    this.#lastEventId = this.#id;
    if (data.length === 0) return;
    this.#onEvent({ event: event || 'message', data: data.join('\n'), lastEventId: this.#id });
  }
}
