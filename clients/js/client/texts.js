/**
 * What errors say to a person, by their code. The minified files have the address of the page that explains
 * the code in place of it: `build.js` puts `short-texts.js` where this is.
 */

/** @type {Record<string, string | ((...about: string[]) => string)>} */
const TEXTS = {
  anew: 'the connection is started anew',
  bad_message: 'a message without a position was ignored',
  bad_url: 'the address of this page is not one to show',
  lost: 'the connection was lost before the answer',
  network: 'the connection was lost',
  no_answer: (server) => 'nothing answers at ' + server,
  no_fresh_token: 'no fresh token could be had',
  no_open: 'the connection did not open',
  no_token: 'no token: give the option `token` or `getToken`, or log in for a cookie',
  not_a_stream: 'the answer is not an event stream, or ended before it opened',
  not_found: (server) => 'there is no Encke at ' + server + ': check the option `url`',
  not_json: 'what came is not JSON: does the option `url` lead to Encke?',
  origin_refused: (server, origin) =>
    server + ' lets no page of ' + origin + ' read its answers: add that to `allowed_origins`',
  silent: 'the connection fell silent',
  slow: 'the loop takes less than what comes',
  timeout: 'the server did not answer in time',
  too_large: 'an event is larger than any server would send',
};

/**
 * @param {string} code @param {string[]} about the addresses that it concerns
 * @returns {string}
 */
export function textOf(code, about) {
  const text = TEXTS[code] ?? code;
  return typeof text === 'string' ? text : text(...about);
}
