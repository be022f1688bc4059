/** What became of a push: totals by state, and names. Not which pushes there are. */
import { safeUrl } from '../../client.js';
import { button, keep, make, setText } from './dom.js';
import { count, moment, number } from './format.js';
import { placeOf } from './places.js';
import { ask } from './question.js';

export const STATES = ['queued', 'delivered', 'shown', 'expired', 'cancelled'];
/** Those that nothing follows. */
const LAST_STATES = ['shown', 'expired', 'cancelled'];
/** A push to no more users than that has their names beside the totals. */
export const NAMED_MAX = 20;

/**
 * @typedef {{id: string, text: string, time: string, totals: Record<string, number>,
 * receipts: any[]}} Push
 */

/** Where the totals of a push stand, for `showTotals`. */
export const totalsElements = () => [
  make(
    'div',
    { class: 'meter', 'aria-hidden': 'true' },
    ...STATES.map((state) => make('span', { 'data-meter': state })),
  ),
  make(
    'p',
    { class: 'counts' },
    ...STATES.map((state) => make('span', { 'data-count': state }, make('b', {}, '0'), ` ${state}`)),
  ),
];

/** How many users a push is for. @param {Push} push */
export const usersOf = ({ totals }) => STATES.reduce((sum, state) => sum + (totals[state] ?? 0), 0);

/** Whether nothing more will become of it. @param {Push} push */
export const isSettled = (push) =>
  usersOf(push) > 0 &&
  LAST_STATES.reduce((sum, state) => sum + (push.totals[state] ?? 0), 0) === usersOf(push);

/** What is pushed, as a link if it is a page. @param {string} text @param {string} [kind] */
export function what(text, kind = 'address') {
  const url = safeUrl(text);
  if (!url) return make('span', { class: kind, title: text }, text);
  return make(
    'a',
    { class: kind, href: url, title: url, target: '_blank', rel: 'noopener noreferrer' },
    text,
  );
}

/**
 * The article of a push.
 * @param {Push} push @param {import('./server.js').Server} server @param {() => void} cancelled
 */
export function makeArticle(push, server, cancelled) {
  const { id } = push;
  const told = make('p', { class: 'result', role: 'status' });
  const onCancel = async () => {
    try {
      if (await cancel(server, id, Number(article.dataset.queued))) cancelled();
    } catch (error) {
      setText(told, /** @type {Error} */ (error).message);
    }
  };
  const article = make(
    'article',
    { class: 'receipt', 'data-push': id, 'aria-label': `Push ${id}` },
    make('header', {}, what(push.text), make('time', { class: 'quiet' }, moment(push.time))),
    ...totalsElements(),
    make('ul', { 'aria-label': 'Receipts by user' }),
    make(
      'footer',
      {},
      make('a', { class: 'button plain small', href: placeOf('pushes', id) }, 'Receipts by name'),
      button('Cancel', { class: 'plain small danger', 'data-cancel-push': id }, onCancel),
    ),
    told,
  );
  return article;
}

/** @param {any} element @param {Push} push */
export function showArticle(element, push) {
  showTotals(element, push);
  const isSmall = usersOf(push) <= NAMED_MAX;
  showNames(element.querySelector('ul'), isSmall ? push.receipts.slice(0, NAMED_MAX) : []);
  element.querySelector('footer a').hidden = isSmall;
  element.querySelector('[data-cancel-push]').hidden = !push.totals.queued;
}

/** Writes the totals as data, as words, and as a bar. @param {any} element @param {Push} push */
export function showTotals(element, push) {
  for (const state of STATES) {
    const n = push.totals[state] ?? 0;
    element.dataset[state] = String(n);
    const told = element.querySelector(`[data-count="${state}"]`);
    setText(told.querySelector('b'), number(n));
    told.dataset.none = String(n === 0);
    // The strict policy forbids style attributes, not this.
    element.querySelector(`[data-meter="${state}"]`).style.flexGrow = String(n);
  }
}

/** @param {Element} list @param {any[]} receipts */
export function showNames(list, receipts) {
  keep(
    list,
    receipts,
    (receipt) => receipt.user,
    ({ user }) =>
      make(
        'li',
        { 'data-receipt-user': user },
        make('a', { class: 'name', href: placeOf('users', user) }, user),
        make('span', { class: 'badge' }),
        make('time', { class: 'quiet' }),
      ),
    (row, { state, time }) => {
      row.dataset.state = state;
      setText(row.querySelector('.badge'), state);
      setText(row.querySelector('time'), time ? moment(time) : '');
    },
  );
}

/**
 * Calls a push back from those who have not got it, if the operator means that. Gives whether that was done.
 * @param {import('./server.js').Server} server @param {string} id @param {number} queued
 */
export async function cancel(server, id, queued) {
  const sure = await ask({
    title: 'Cancel this push?',
    text:
      `${count(queued, 'user')} ${queued === 1 ? 'has' : 'have'} not got it yet, and will not get it. ` +
      'Those who have it keep it.',
    yes: `Cancel for ${count(queued, 'user')}`,
  });
  if (!sure) return false;
  await server.delete(`/api/push/${encodeURIComponent(id)}`);
  return true;
}
