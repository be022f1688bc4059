/** What is asked before something is done that cannot be taken back. Not when to ask. */
import { at, setText } from './dom.js';

/** @typedef {'' | 'yes' | 'other'} Answer the value of the button that was pressed, or '' for none */

/** The answer to the question that was asked last. @type {Promise<Answer>} */
let last = Promise.resolve('');
/** How often the questions were taken back. */
let withdrawals = 0;

/**
 * Asks, and gives the answer. There is one dialog: a question that is asked while another is open is shown
 * after it.
 * @param {{title: string, text: string, yes: string, other?: string}} question `other` is a second way to go
 * on
 * @returns {Promise<Answer>}
 */
export function ask(question) {
  const asked = withdrawals;
  last = last.then(() => (asked === withdrawals ? show(question) : ''));
  return last;
}

/** Takes back what is asked and was not answered yet, as what it was asked about is out of sight. */
export function withdrawQuestions() {
  withdrawals++;
  at('question').close('');
}

/** @param {{title: string, text: string, yes: string, other?: string}} question @returns {Promise<Answer>} */
function show({ title, text, yes, other = '' }) {
  const dialog = at('question');
  setText(at('question-title'), title);
  setText(at('question-text'), text);
  setText(at('question-yes'), yes);
  setText(at('question-other'), other);
  at('question-other').hidden = other === '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true }),
  );
}
