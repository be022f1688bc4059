/** What errors say in the minified files: their code, what it concerns, and the page that explains it. */
import { HELP } from './client/help.js';

/** @param {string} code @param {string[]} about the addresses that it concerns */
export const textOf = (code, about) => [code, ...about, HELP].join(' ');
