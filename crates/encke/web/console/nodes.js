/** How the server is: all nodes together, each of them, and how it went over the last hour or day. */
import { at, keep, make, problem, setText } from './dom.js';
import { duration, milliseconds, number, rate } from './format.js';
import { draw } from './chart.js';

const EVERY_MS = 4000;
const HISTORY_EVERY_MS = 30_000;

export class Nodes {
  #server;
  #pace;
  /** @type {any[]} */
  #tasks = [];

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#server = server;
    this.#pace = pace;
    at('history-span').addEventListener('change', () => this.#tasks[2]?.soon());
  }

  show() {
    const failed = (/** @type {Error} */ error) => problem('nodes-error', error.message);
    this.#tasks = [
      this.#pace.every(EVERY_MS, () => this.#refreshTotals(), failed),
      this.#pace.every(EVERY_MS, () => this.#refreshNodes(), failed),
      this.#pace.every(HISTORY_EVERY_MS, () => this.#refreshHistory(), failed),
    ];
  }

  hide() {
    for (const task of this.#tasks) task.stop();
  }

  async #refreshTotals() {
    const { users, sessions, connections, lag, minute } = await this.#server.get('/api/stats');
    problem('nodes-error');
    const { rates, latency_ms } = minute;
    const tiles = [
      ['Users online', number(users)],
      ['Sessions', number(sessions)],
      ['Connections', number(connections)],
      ['Deliveries a second', rate(rates.deliveries)],
      ['Accepted a second', rate(rates.pushes + rates.publishes)],
      ['99 of 100 within', latency_ms ? milliseconds(latency_ms.p99) : '–'],
      ['Messages behind', number(lag)],
      ['Errors a second', rate(rates.errors)],
    ];
    keep(
      at('tiles'),
      tiles,
      ([name]) => name,
      ([name]) => make('div', {}, make('dt', {}, name), make('dd')),
      (tile, [, value]) => setText(tile.querySelector('dd'), value),
    );
  }

  async #refreshNodes() {
    const { nodes, silent } = await this.#server.get('/api/nodes');
    setText(
      at('nodes-count'),
      silent.length ? `${nodes.length}, ${silent.length} silent` : number(nodes.length),
    );
    keep(at('nodes'), nodes, ({ node, id }) => `${node} ${id}`, createNode, updateNode);
    problem(
      'nodes-silent',
      silent.length
        ? `No answer from ${silent.map((/** @type {any} */ one) => `${one.node} (${one.error})`).join(', ')}.`
        : '',
    );
  }

  async #refreshHistory() {
    const minutes = at('history-span').elements.span.value;
    const { step_s, points } = await this.#server.get('/api/stats/history', { minutes });
    at('history-empty').hidden = points.length > 1;
    at('charts').hidden = points.length <= 1;
    if (points.length <= 1) return;
    const times = points.map((/** @type {any} */ point) => point.time);
    const each = (/** @type {(point: any) => number | null} */ value) => points.map(value);
    const perSecond = (/** @type {string} */ name) => each((point) => point.totals[name] / step_s);
    const latency = (/** @type {string} */ share) => each((point) => point.latency_ms?.[share] ?? null);
    draw(at('chart-connections'), {
      title: 'Connections and users',
      times,
      format: number,
      series: [
        { name: 'connections', kind: 'one', values: each((point) => point.connections) },
        { name: 'users', kind: 'two', values: each((point) => point.users) },
      ],
    });
    draw(at('chart-deliveries'), {
      title: 'Deliveries a second',
      times,
      format: rate,
      series: [{ name: 'deliveries', kind: 'one', values: perSecond('deliveries') }],
    });
    draw(at('chart-latency'), {
      title: 'From accepted to delivered',
      times,
      format: milliseconds,
      series: [
        { name: 'half', kind: 'one', values: latency('p50') },
        { name: '99 of 100', kind: 'two', values: latency('p99') },
      ],
    });
    draw(at('chart-errors'), {
      title: 'Errors and refusals a second',
      times,
      format: rate,
      series: [
        { name: 'errors', kind: 'bad', values: perSecond('errors') },
        { name: 'credentials refused', kind: 'one', values: perSecond('refused_credentials') },
        { name: 'rate limited', kind: 'two', values: perSecond('rate_limited') },
      ],
    });
  }
}

const COLUMNS = ['version', 'up', 'connections', 'users', 'lag', 'deliveries', 'latency', 'errors'];

/** @param {any} node */
const createNode = ({ node, addresses, engine }) =>
  make(
    'tr',
    { 'data-node': node },
    make(
      'th',
      { scope: 'row' },
      node,
      make('span', { class: 'quiet block' }, `${engine} · ${addresses.join(', ')}`),
    ),
    ...COLUMNS.map((name) => make('td', { class: `number ${name}` })),
  );

/** @param {any} row @param {any} node */
function updateNode(row, { version, uptime_s, connections, users, lag, rates, latency_ms, totals }) {
  const values = [
    version,
    duration(uptime_s),
    number(connections),
    number(users),
    number(lag),
    rate(rates.deliveries),
    latency_ms ? milliseconds(latency_ms.p99) : '–',
    number(totals.errors),
  ];
  COLUMNS.forEach((name, n) => setText(row.querySelector(`.${name}`), values[n]));
}
