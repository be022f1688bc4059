/**
 * The browser client as a server gives it, at `/client.js`: what the package exports, and the address of the
 * server that it came from for clients that are given none. It is never part of the package, since what is
 * bundled comes from the application's own origin.
 */
import { cameFrom, defaultServer } from './client/server-address.js';
import { loadFrameBy } from './client/transports.js';

export { parseCursor, formatCursor } from './client/cursor.js';
export { Encke } from './client/encke.js';
export { EnckeError } from './client/error.js';
export { safeUrl, showPage } from './client/pages.js';
export { pauseMs } from './client/pauses.js';
export { SseParser } from './client/sse-parser.js';

// The others are named too, so that a browser asks for all of them at the same time.
import './client/base64.js';
import './client/channel.js';
import './client/emitter.js';
import './client/ending.js';
import './client/env.js';
import './client/help.js';
import './client/iteration.js';
import './client/link.js';
import './client/memory.js';
import './client/message.js';
import './client/page-events.js';
import './client/pause.js';
import './client/poll.js';
import './client/positions.js';
import './client/query.js';
import './client/questions.js';
import './client/random-id.js';
import './client/requests.js';
import './client/session.js';
import './client/short.js';
import './client/sse.js';
import './client/tabs.js';
import './client/texts.js';
import './client/token.js';
import './client/ws.js';

cameFrom(import.meta.url);
// As one file it lies at two addresses, and the frame's own module beside neither.
loadFrameBy(() => import(defaultServer() + '/client/iframe.js'));
