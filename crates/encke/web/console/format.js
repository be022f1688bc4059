/** Numbers and times as words. Not where they come from. */

/** @param {number} n */
export const number = (n) => n.toLocaleString('en');

/** @param {number} n @param {string} one */
export const count = (n, one) => `${number(n)} ${one}${n === 1 ? '' : 's'}`;

/** A rate in a second. @param {number} n */
export const rate = (n) => (n >= 10 || n === 0 ? number(Math.round(n)) : n.toFixed(n >= 1 ? 1 : 2));

/** A time of a few milliseconds up to some minutes. @param {number} n */
export const milliseconds = (n) => (n < 1000 ? `${rate(n)} ms` : `${rate(n / 1000)} s`);

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };

/** @param {string | number} time */
export const clock = (time) => new Date(time).toLocaleTimeString([], /** @type {any} */ (CLOCK));

/** The time of day, with the date unless it is today's. @param {string} time */
export function moment(time) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock(time) : `${date.toLocaleDateString()} ${clock(time)}`;
}

/** @param {string | null} time */
export function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time ?? '')) / 1000));
  if (!Number.isFinite(seconds)) return 'never';
  return seconds < 60 ? 'just now' : `${duration(seconds)} ago`;
}

/** The largest unit of it. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return count(Math.floor(seconds / 86_400), 'day');
}

/** Some names, and how many more there are. @param {string[]} names @param {number} [most] */
export function someOf(names, most = 5) {
  const more = names.length - most;
  return names.slice(0, most).join(', ') + (more > 0 ? `, and ${number(more)} more` : '');
}
