/**
 * The key of the server API that an operator has given: where it is kept, and for how long. It stays in this
 * tab, unless the operator asks for more, and is forgotten when it was not used for a time. Not what it may
 * do, which the server says.
 */
const KEPT = 'encke.console.session';
const HOUR_MS = 3_600_000;
/** How long a key is good that nothing was done with: in a tab, and in a browser. */
const TAB_MS = 8 * HOUR_MS;
const BROWSER_MS = 7 * 24 * HOUR_MS;
/** How often it is written down that the console is in use. */
const NOTED_EVERY_MS = 60_000;

/** Dispatches `ended`, with the reason, when the key is forgotten without a click in this tab. */
export class Access extends EventTarget {
  #key = '';
  #isLasting = false;
  #usedAt = 0;

  constructor() {
    super();
    for (const type of ['pointerdown', 'keydown'])
      addEventListener(type, () => this.#used(), { passive: true });
    setInterval(() => this.#check(), NOTED_EVERY_MS);
    document.addEventListener('visibilitychange', () => this.#check());
    addEventListener('storage', (event) => this.#onStorage(event));
  }

  /** The key in the address, which is taken out of it, the history, and whatever a screenshot shows. */
  static fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get('key');
    if (given !== null) history.replaceState(null, '', location.pathname + location.search);
    return given?.trim() ?? '';
  }

  /** The key that was kept, if there is one and its time is not over. */
  kept() {
    for (const [name, lastsMs] of /** @type {[string, number][]} */ ([
      ['sessionStorage', TAB_MS],
      ['localStorage', BROWSER_MS],
    ])) {
      const { key, usedAt } = read(name);
      if (!key) continue;
      if (Date.now() - usedAt <= lastsMs) {
        this.#isLasting = name === 'localStorage';
        return key;
      }
      write(name, null);
    }
    return '';
  }

  /** Keeps a key that the server took. @param {string} key @param {boolean} [isLasting] beyond this tab */
  keep(key, isLasting = this.#isLasting) {
    this.#key = key;
    this.#isLasting = isLasting;
    this.#note();
  }

  forget() {
    this.#key = '';
    this.#isLasting = false;
    write('sessionStorage', null);
    write('localStorage', null);
  }

  #used() {
    if (this.#key && Date.now() - this.#usedAt >= NOTED_EVERY_MS) this.#note();
  }

  #note() {
    this.#usedAt = Date.now();
    const session = { key: this.#key, usedAt: this.#usedAt };
    write('sessionStorage', this.#isLasting ? null : session);
    // A key that other tabs keep in the browser is not that of this tab alone.
    if (this.#isLasting) write('localStorage', session);
  }

  /**
   * What another tab of the browser did with the key that they share. Without a name, all was removed.
   * @param {StorageEvent} event
   */
  #onStorage({ key, newValue, storageArea }) {
    const isShared = storageArea === window.localStorage && (key === KEPT || key === null);
    if (!isShared || !this.#isLasting || !this.#key) return;
    if (newValue === null) this.#end('You were logged out in another tab.');
    else this.#usedAt = Math.max(this.#usedAt, read('localStorage').usedAt);
  }

  #check() {
    const lastsMs = this.#isLasting ? BROWSER_MS : TAB_MS;
    if (!this.#key || Date.now() - this.#usedAt <= lastsMs) return;
    this.#end('You were logged out, as nothing was done for a long time.');
  }

  /** @param {string} why */
  #end(why) {
    this.forget();
    this.dispatchEvent(new CustomEvent('ended', { detail: why }));
  }
}

/** @param {string} name @returns {{key: string, usedAt: number}} */
function read(name) {
  try {
    return JSON.parse(/** @type {any} */ (window)[name].getItem(KEPT)) ?? { key: '', usedAt: 0 };
  } catch {
    return { key: '', usedAt: 0 };
  }
}

/** @param {string} name @param {object | null} session */
function write(name, session) {
  try {
    if (session) /** @type {any} */ (window)[name].setItem(KEPT, JSON.stringify(session));
    else /** @type {any} */ (window)[name].removeItem(KEPT);
  } catch {
    // A browser may deny its storage; a reload then asks for the key again.
  }
}
