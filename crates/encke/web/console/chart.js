/**
 * A line chart of some series over time, drawn as SVG, with what it says in words. Not where it comes from.
 */
import { make } from './dom.js';
import { clock } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 480;
const HEIGHT = 132;
/** What the plot leaves to the labels. */
const LEFT = 8;
const RIGHT = 8;
const TOP = 20;
const BOTTOM = 18;

/** @typedef {{name: string, kind: string, values: (number | null)[]}} Series `kind` is its class of style */

/**
 * Draws it anew.
 * @param {HTMLElement} figure
 * @param {{title: string, times: string[], series: Series[], format: (value: number) => string}} chart
 */
export function draw(figure, { title, times, series, format }) {
  const values = series.flatMap((one) => one.values).filter((value) => value !== null);
  const top = ceiling(Math.max(0, ...values));
  const x = (/** @type {number} */ n) => LEFT + (n / Math.max(1, times.length - 1)) * (WIDTH - LEFT - RIGHT);
  const y = (/** @type {number} */ value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const latest = series.map(({ name, values }) => {
    const last = values.findLast((value) => value !== null);
    return { name, text: last === undefined || last === null ? 'none' : format(last) };
  });
  const words = latest.map(({ name, text }) => `${name} ${text}`).join(', ');
  const svg = element('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: 'img',
    'aria-label': `${title}: ${words}`,
  });
  for (const value of [0, top / 2, top])
    svg.append(element('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
  svg.append(text(LEFT, TOP - 6, 'start', format(top)));
  if (times.length > 1) {
    svg.append(text(LEFT, HEIGHT - 4, 'start', clock(times[0]).slice(0, 5)));
    svg.append(text(WIDTH - RIGHT, HEIGHT - 4, 'end', clock(times.at(-1) ?? '').slice(0, 5)));
  }
  for (const { kind, values } of series)
    for (const run of runs(values))
      svg.append(
        element('polyline', {
          class: `series ${kind}`,
          points: run.map(([n, value]) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`).join(' '),
        }),
      );
  const legend = make('p', { class: 'legend' });
  latest.forEach(({ name, text }, n) =>
    legend.append(make('span', { class: series[n].kind }, make('i'), `${name} `, make('b', {}, text))),
  );
  figure.replaceChildren(make('figcaption', {}, title), svg, legend);
}

/** Stretches without a hole. A single value is drawn as a dash. @param {(number | null)[]} values */
function runs(values) {
  /** @type {[number, number][][]} */
  const all = [];
  values.forEach((value, n) => {
    if (value === null) return;
    if (n > 0 && values[n - 1] !== null && all.length) all.at(-1)?.push([n, value]);
    else all.push([[n, value]]);
  });
  return all.map((run) => (run.length === 1 ? [run[0], [run[0][0] + 0.5, run[0][1]]] : run));
}

/** A round number that is not below. @param {number} value */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (
    [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((round) => round >= value) ?? value
  );
}

/** @param {string} tag @param {Record<string, string | number>} attributes */
function element(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** @param {number} x @param {number} y @param {string} anchor @param {string} content */
function text(x, y, anchor, content) {
  const made = element('text', { x, y, 'text-anchor': anchor });
  made.textContent = content;
  return made;
}
