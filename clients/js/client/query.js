/** The query of an address, as text. */

/**
 * @param {Record<string, string | number | null | undefined>} members those without a value are left out
 * @returns {string} with its question mark, or nothing
 */
export function queryOf(members) {
  const text = Object.entries(members)
    .filter(([, value]) => value != null)
    .map(([name, value]) => name + '=' + encodeURIComponent(/** @type {string} */ (value)))
    .join('&');
  return text && '?' + text;
}
