/**
 * A long list of rows of one height, of which those in sight are drawn. It is one stop for the Tab key: the
 * arrows, Page Up and Down, Home and End go through it, Left and Right through the controls of a row. Not
 * what the rows are of.
 */
import { keep, make } from './dom.js';

/** The height of a row, as in the style sheet. */
const ROW_REM = 2.75;
/** How many rows are drawn above and below what is in sight, so that a scroll shows no gap. */
const MARGIN = 12;

/**
 * @template Item
 */
export class RowList {
  /** @type {Item[]} */
  #items = [];
  #root;
  #body;
  #row;
  #rowPx;
  #active = 0;
  #column = 0;
  #hasFocus = false;

  /**
   * @param {HTMLElement} root the element that scrolls
   * @param {{name: (item: Item) => string, create: (item: Item) => HTMLElement,
   * update: (row: any, item: Item) => void, nearEnd?: () => void}} row controls of a row have `data-control`
   */
  constructor(root, row) {
    this.#root = root;
    this.#row = row;
    this.#rowPx = ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.#body = make('div', { role: 'rowgroup', class: 'rows' });
    root.setAttribute('role', 'grid');
    root.append(this.#body);
    root.addEventListener('scroll', () => this.draw(), { passive: true });
    root.addEventListener('keydown', (event) => this.#onKey(event));
    root.addEventListener('focusin', (event) => this.#onFocus(/** @type {any} */ (event.target)));
    root.addEventListener('focusout', () => (this.#hasFocus = false));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** @param {Item[]} items @param {number} total of how many, also those that are not there yet */
  set(items, total) {
    this.#items = items;
    this.#active = Math.max(0, Math.min(this.#active, items.length - 1));
    this.#root.setAttribute('aria-rowcount', String(total));
    this.#root.hidden = items.length === 0;
    this.#body.style.height = `${items.length * this.#rowPx}px`;
    this.draw();
  }

  /** The first and the last row in sight. */
  get sight() {
    const first = Math.floor(this.#root.scrollTop / this.#rowPx);
    const last = Math.ceil((this.#root.scrollTop + this.#root.clientHeight) / this.#rowPx);
    return [Math.max(0, Math.min(first, this.#items.length - 1)), Math.min(last, this.#items.length - 1)];
  }

  toTop() {
    this.#active = 0;
    this.#root.scrollTop = 0;
  }

  focus() {
    this.draw();
    this.#focusActive();
  }

  draw() {
    const [first, last] = this.sight;
    const from = Math.max(0, first - MARGIN);
    const to = Math.min(this.#items.length - 1, last + MARGIN);
    const drawn = Array.from({ length: Math.max(0, to - from + 1) }, (_, n) => from + n);
    // The row that has the focus stays, also out of sight.
    if (this.#hasFocus && this.#active < from) drawn.unshift(this.#active);
    if (this.#hasFocus && this.#active > to && this.#items.length) drawn.push(this.#active);
    keep(
      this.#body,
      drawn,
      (index) => this.#row.name(this.#items[index]),
      (index) => this.#create(this.#items[index]),
      (row, index) => this.#update(row, index),
    );
    if (last >= this.#items.length - 2 * MARGIN) this.#row.nearEnd?.();
  }

  /** @param {Item} item */
  #create(item) {
    const row = this.#row.create(item);
    row.setAttribute('role', 'row');
    return row;
  }

  /** @param {any} row @param {number} index */
  #update(row, index) {
    row.style.transform = `translateY(${index * this.#rowPx}px)`;
    row.setAttribute('aria-rowindex', String(index + 1));
    row.dataset.index = String(index);
    this.#row.update(row, this.#items[index]);
    const isActive = index === this.#active;
    const controls = controlsOf(row);
    const column = Math.min(this.#column, controls.length - 1);
    controls.forEach((control, n) => (control.tabIndex = isActive && n === column ? 0 : -1));
  }

  /** @param {HTMLElement} target */
  #onFocus(target) {
    const row = /** @type {any} */ (target.closest('[data-index]'));
    if (!row) return;
    this.#hasFocus = true;
    this.#active = Number(row.dataset.index);
    this.#column = Math.max(0, controlsOf(row).indexOf(target));
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const page = Math.max(1, Math.floor(this.#root.clientHeight / this.#rowPx) - 1);
    const rows = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const columns = { ArrowRight: 1, ArrowLeft: -1 };
    const by = /** @type {any} */ (rows)[event.key];
    const aside = /** @type {any} */ (columns)[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (by ?? aside) === undefined) return;
    event.preventDefault();
    if (by !== undefined) this.#active = Math.max(0, Math.min(this.#active + by, this.#items.length - 1));
    else this.#column = Math.max(0, this.#column + aside);
    this.#reveal();
    this.draw();
    this.#focusActive();
  }

  /** Scrolls as little as needed. */
  #reveal() {
    const top = this.#active * this.#rowPx;
    const { scrollTop, clientHeight } = this.#root;
    if (top < scrollTop) this.#root.scrollTop = top;
    else if (top + this.#rowPx > scrollTop + clientHeight)
      this.#root.scrollTop = top + this.#rowPx - clientHeight;
  }

  #focusActive() {
    const row = this.#body.querySelector(`[data-index="${this.#active}"]`);
    const controls = row ? controlsOf(row) : [];
    this.#column = Math.max(0, Math.min(this.#column, controls.length - 1));
    controls[this.#column]?.focus({ preventScroll: true });
  }
}

/** Those of a row that can be used now. @param {Element} row @returns {HTMLElement[]} */
const controlsOf = (row) => [.../** @type {any} */ (row).querySelectorAll('[data-control]:not([hidden])')];
