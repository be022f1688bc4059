/** Lists of users that an operator pastes or loads from a file, and whether there are such users. */
import { idsOf, isKnown } from './user-pages.js';

/** Up to so many names are asked for one by one; beyond, the list of all users is gone through. */
const ONE_BY_ONE_MAX = 50;
/** How many of them at a time. */
const AT_ONCE = 4;

/** The names in a text: one a line, or between commas, semicolons and tabs. @param {string} text */
export function namesIn(text) {
  const names = text.split(/[\n\r,;\t]+/).map((name) => name.trim().replace(/^"(.*)"$/, '$1'));
  return [...new Set(names.filter(Boolean))];
}

/** Those of which there is no user. @param {import('./server.js').Server} server @param {string[]} names */
export async function unknownOf(server, names) {
  if (names.length > ONE_BY_ONE_MAX) {
    const known = new Set(await idsOf(server, { q: '', online: false }));
    return names.filter((name) => !known.has(name));
  }
  const unknown = new Set();
  const left = [...names];
  const ask = async () => {
    for (let name = left.pop(); name !== undefined; name = left.pop())
      if (!(await isKnown(server, name))) unknown.add(name);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  return names.filter((name) => unknown.has(name));
}
