/** The same as a server gives it, at `/client.global.js`. */
import * as exported from './served.js';

Object.assign(globalThis, { Encke: Object.assign(exported.Encke, exported) });
