/** Where the server is when the application does not say it. */

let address = '';

/**
 * Takes note of the server that a script came from, whose address ends in `/client.js` or
 * `/client.global.js`, or lies in `/client/`.
 * @param {string} script
 */
export function cameFrom(script) {
  address = script.replace(/\/client(\.js|\.global\.js|\/[^/]*)([?#].*)?$/, '');
}

/** The server's address without a trailing slash; empty for the page's own origin. @returns {string} */
export const defaultServer = () => address;
