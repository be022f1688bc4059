/**
 * The browser client of Encke as a package: ES modules without dependencies. This one is all that an
 * application imports; the others lie beside it in `client/`.
 */
export { parseCursor, formatCursor } from './client/cursor.js';
export { Encke } from './client/encke.js';
export { EnckeError } from './client/error.js';
export { safeUrl, showPage } from './client/pages.js';
export { pauseMs } from './client/pauses.js';
export { SseParser } from './client/sse-parser.js';
