/** The package as a classic script: the class as the global `Encke`, all else as its members. */
import * as exported from './encke.js';

Object.assign(globalThis, { Encke: Object.assign(exported.Encke, exported) });
