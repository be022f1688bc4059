/** The transports there are. Not which of them is tried: the session knows that. */
import { failure } from './error.js';
import { receive as poll } from './poll.js';
import { receive as sse } from './sse.js';
import { receive as ws } from './ws.js';

/** @typedef {import('./link.js').Link} Link @typedef {import('./link.js').Ending} Ending */

/** Loads the forever frame, which few ask for. */
let loadFrame = () => import('./iframe.js');

/** Has it loaded from elsewhere, where it does not lie beside this. @param {typeof loadFrame} load */
export const loadFrameBy = (load) => void (loadFrame = load);

/** @param {Link} link @returns {Promise<Ending>} */
async function iframe(link) {
  const { receive } = await loadFrame().catch((cause) => {
    throw failure('no_open', cause);
  });
  return receive(link);
}

/** By name. @type {Record<string, (link: Link) => Promise<Ending>>} */
export const TRANSPORTS = { sse, poll, ws, iframe };
/**
 * What is tried in turn unless the application says otherwise. The forever frame is not among them: what lets
 * a frame through lets polls through, and they need no frame.
 */
const AUTO = ['ws', 'sse', 'poll'];
/** Of these, a browser does not tell why they were refused. */
export const BLIND = ['ws', 'iframe'];

/** @param {string | readonly string[]} [names] one, or several in the order in which to try them */
export function transportsOf(names = 'auto') {
  const all = names === 'auto' ? AUTO : [names].flat();
  if (all.length && all.every((name) => Object.hasOwn(TRANSPORTS, name))) return all;
  throw new TypeError('unknown transport: ' + all);
}
