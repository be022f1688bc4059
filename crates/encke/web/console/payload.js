/** What is pushed or published: read from the form, and shown before it goes out. Not to whom. */
import { safeUrl } from '../../client.js';
import { at, make } from './dom.js';

/** Seconds in the units of the form. */
const UNITS = { seconds: 1, minutes: 60, hours: 3600, days: 86_400 };

/** @typedef {{url?: string, show?: 'window', data?: unknown, ttl_s?: number}} Payload */

/** Reads the form. @returns {{payload: Payload, text: string} | {wrong: string}} */
export function readPayload() {
  /** @type {Payload} */
  const payload = {};
  let text;
  if (at('kind-page').checked) {
    text = at('push-url').value.trim();
    // The server has the last word; this only spares a round trip.
    if (safeUrl(text) === null) return { wrong: 'The address has to begin with http:// or https://.' };
    payload.url = text;
    if (at('push-window').checked) payload.show = 'window';
  } else {
    text = at('push-data').value.trim();
    if (text === '') return { wrong: 'Write a message first.' };
    const data = readData(text);
    if (data === undefined) return { wrong: 'This begins like JSON, and is none.' };
    payload.data = data;
  }
  const given = at('push-ttl').value;
  if (given !== '') {
    payload.ttl_s = Number(given) * /** @type {any} */ (UNITS)[at('push-ttl-unit').value];
    if (!Number.isInteger(payload.ttl_s) || payload.ttl_s < 1)
      return { wrong: 'The time to keep it has to be a whole number, and more than none.' };
  }
  return { payload, text };
}

/** JSON, or text that does not look like it. @param {string} text @returns {unknown} undefined for neither */
export function readData(text) {
  try {
    return JSON.parse(text);
  } catch {
    return /^[[{"]/.test(text) ? undefined : text;
  }
}

/** Shows what users will get. @param {HTMLElement} place @param {Payload} payload */
export function preview(place, payload) {
  if (payload.url === undefined) {
    place.replaceChildren(make('pre', {}, JSON.stringify(payload.data, null, 2)));
    return;
  }
  if (payload.show === 'window') {
    const link = make('a', { href: payload.url, target: '_blank', rel: 'noopener noreferrer' }, payload.url);
    place.replaceChildren(link);
    return;
  }
  const isForeign = new URL(payload.url).origin !== location.origin;
  const frame = make('iframe', {
    sandbox: `allow-scripts allow-forms${isForeign ? ' allow-same-origin' : ''}`,
    referrerpolicy: 'no-referrer',
    title: `Preview of ${payload.url}`,
    src: payload.url,
  });
  const note = 'A page that stays blank here may forbid frames, for which users need a link, or not be there.';
  place.replaceChildren(frame, make('p', { class: 'hint' }, note));
}
