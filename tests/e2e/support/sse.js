import { Answer, transport } from './http.js';
import { within } from './until.js';

/**
 * A stream of server-sent events, read as the HTML standard says, by code that is not the client's under
 * test.
 */
export class Stream {
  #events = [];
  #waiting = null;
  #error = null;
  #request;
  /** The comments that came, heartbeats among them. */
  comments = 0;
  /** The `id:` in force. */
  lastEventId = '';
  ended = false;

  /**
   * Opens a stream; when the request is refused, gives the {@link Answer} instead.
   * @param {string} url
   * @param {Record<string, string>} headers
   * @returns {Promise<any>}
   */
  static open(url, headers) {
    const opening = new Promise((resolve, reject) => {
      const [client, trust] = transport(url);
      const request = client.get(
        url,
        { ...trust, headers: { accept: 'text/event-stream', ...headers }, agent: false },
        (response) => {
          response.setEncoding('utf8');
          if (response.statusCode === 200) return resolve(new Stream(request, response));
          let text = '';
          response.on('data', (chunk) => (text += chunk));
          response.on('end', () => resolve(new Answer(response.statusCode, response.headers, text)));
          response.on('error', reject);
        },
      );
      request.on('error', reject);
    });
    return within(`the head of ${url}`, opening);
  }

  constructor(request, response) {
    this.#request = request;
    this.headers = response.headers;
    this.done = new Promise((resolve) => {
      const end = (error) => {
        this.ended = true;
        this.#error ??= error ?? null;
        this.#wake();
        resolve();
      };
      request.on('error', end);
      response.on('error', end);
      response.on('end', () => end());
      response.on('close', () => end());
    });
    let text = '';
    response.on('data', (chunk) => {
      text += chunk;
      for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2))
        this.#block(text.slice(0, at));
    });
  }

  #block(block) {
    let event = 'message';
    const data = [];
    let id;
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) this.comments++;
      else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      else if (line.startsWith('event:')) event = line.slice(6).trim();
      else if (line.startsWith('id:')) id = line.slice(3).replace(/^ /, '');
    }
    if (id !== undefined) this.lastEventId = id;
    if (data.length) {
      this.#events.push({ name: event, sseId: id, ...JSON.parse(data.join('\n')) });
      this.#wake();
    }
  }

  #wake() {
    this.#waiting?.();
    this.#waiting = null;
  }

  /**
   * The next event: its JSON, with `name` for the SSE event name and `sseId` for the SSE id. Null at the
   * stream's end.
   */
  async next(ms) {
    if (this.#events.length === 0 && !this.ended)
      await within('the next event', new Promise((resolve) => (this.#waiting = resolve)), ms);
    return this.#events.shift() ?? null;
  }

  /** What has come and was not taken. */
  get waiting() {
    return this.#events.length;
  }

  /** Leaves without a word. */
  drop() {
    this.#request.destroy();
    return this.done;
  }
}
