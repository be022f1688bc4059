/**
 * One answer of server-sent events, read by `fetch`: an EventSource can send no token, and does not tell of
 * heartbeats.
 */
import { failure } from './error.js';
import { parseJson } from './requests.js';
import { SseParser } from './sse-parser.js';

/** @param {import('./link.js').Link} link @returns {Promise<import('./link.js').Ending>} */
export async function receive(link) {
  const unguard = link.guard();
  /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
  let reader;
  try {
    const { status, body, headers } = await link.host.requests.send(
      'GET', link.host.path('/v1/sse'), undefined, link.signal, 'text/event-stream',
    );
    if (status === 204) return { kind: 'final', code: 'session_closed' };
    if (!body || !/^text\/event-stream\b/i.test(headers.get('content-type') ?? ''))
      throw failure('not_a_stream');
    /** @type {import('./link.js').Ending | void} */
    let ending;
    let adopted = '';
    const parser = new SseParser(({ data }) => {
      ending ??= link.take(parseJson(data));
    });
    reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      link.signal.throwIfAborted();
      if (done) break;
      link.heard();
      parser.push(value);
      // The id says where the stream stands, in all channels, after what was read. A listener may have
      // stopped this; what came after is then left to the next connection.
      if (parser.lastEventId !== adopted) {
        adopted = parser.lastEventId;
        link.take({ event: 'cursor', cursor: adopted });
      }
      link.signal.throwIfAborted();
      if (ending) return ending;
    }
    if (!link.openedAt) throw failure('not_a_stream');
    return { kind: 'lost' };
  } finally {
    unguard();
    reader?.cancel().catch(() => {});
  }
}
