/** The format of server-sent events. */
import { failure } from './error.js';

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
  /** The beginning of a line whose end has not come yet. */
  #rest = '';
  #afterReturn = false;
  #atStart = true;
  /** The lines of data, each with a line feed behind it. */
  #data = '';
  #event = '';
  #id = '';
  /**
   * The id in force after the last complete block; a block of an id alone moves it without being an event.
   */
  lastEventId = '';

  /** @param {(event: {event: string, data: string, lastEventId: string}) => void} onEvent */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /** @param {string | Uint8Array} chunk text, or bytes that may be cut within a character */
  push(chunk) {
    let text = typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true });
    if (!text) return;
    if (this.#atStart) text = text.replace(/^\ufeff/, '');
    this.#atStart = false;
    // A line ends with its carriage return; a line feed that follows in the next chunk belongs to that.
    if (this.#afterReturn) text = text.replace(/^\n/, '');
    this.#afterReturn = text.endsWith('\r');
    const [first, ...lines] = text.split(/\r\n?|\n/);
    this.#rest += first;
    for (const line of lines) {
      this.#line(this.#rest);
      this.#rest = line;
    }
    if (this.#rest.length + this.#data.length > MAX_EVENT_CHARS) throw failure('too_large');
  }

  /** @param {string} line */
  #line(line) {
    if (!line) {
      const [data, event] = [this.#data, this.#event];
      this.#data = this.#event = '';
      this.lastEventId = this.#id;
      if (data) this.#onEvent({ event: event || 'message', data: data.slice(0, -1), lastEventId: this.#id });
      return;
    }
    const [, field, value = ''] = /** @type {string[]} */ (/^([^:]*)(?:: ?(.*))?$/s.exec(line));
    if (field === 'data') this.#data += value + '\n';
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    // `retry` is for an EventSource; this client has its own pauses.
  }
}
