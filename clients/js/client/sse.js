/**
 * One answer of server-sent events, read by `fetch`: an EventSource can send no token, and does not tell of
 * heartbeats.
 */
import { EnckeError } from './error.js';
import { parseJson } from './link.js';
import { SseParser } from './sse-parser.js';

/** @param {import('./link.js').Link} link @returns {Promise<import('./link.js').Ending>} */
export async function receive(link) {
  const unguard = link.guard();
  /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
  let reader;
  try {
    const response = await link.get(link.host.path('/v1/sse'), 'text/event-stream');
    if (response.status === 204) return { kind: 'final', code: 'session_closed', reason: '' };
    if (!response.body || !/^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')) {
      throw new EnckeError('not_a_stream', 'the answer is not an event stream');
    }
    /** @type {import('./link.js').Ending | null} */
    let ending = null;
    let adopted = '';
    const parser = new SseParser(({ data }) => {
      if (!ending && !link.stopped) ending = link.take(parseJson(data));
    });
    reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (link.stopped) return { kind: 'final' };
      if (done) break;
      link.heard();
      parser.push(value);
      // A listener may have stopped this; what came after is then left to the next connection.
      if (link.stopped) return { kind: 'final' };
      if (parser.lastEventId !== adopted) {
        // The id says where the stream stands, in all channels, after what was read.
        adopted = parser.lastEventId;
        if (adopted) link.host.adopt(adopted);
      }
      if (ending) return ending;
    }
    if (!link.openedAt) throw new EnckeError('not_a_stream', 'the stream ended before it opened');
    return { kind: 'lost' };
  } finally {
    unguard();
    reader?.cancel().catch(() => {});
  }
}
