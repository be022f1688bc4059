/**
 * Elements: making them, and changing what is on the page no more than needed. All text becomes text nodes.
 * Not what is shown.
 */

/** @param {string} id @returns {any} */
export const at = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {string} text @param {Record<string, string>} attributes @param {() => void} pressed */
export function button(text, attributes, pressed) {
  const element = make('button', { type: 'button', ...attributes }, text);
  element.addEventListener('click', pressed);
  return element;
}

/**
 * Writes only what has changed, so that a refresh neither disturbs a selection nor makes a screen reader
 * speak.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id @param {string} [text] what is wrong; without it the place is hidden */
export function problem(id, text = '') {
  setText(at(id), text);
  at(id).hidden = text === '';
}

/**
 * Makes the children of a list fit the items. An element lives as long as its item does, so that focus and
 * selection survive a refresh.
 * @template Item
 * @param {Element} parent
 * @param {Item[]} items
 * @param {(item: Item) => string} name
 * @param {(item: Item) => Element} create
 * @param {(element: any, item: Item) => void} [update]
 */
export function keep(parent, items, name, create, update = () => {}) {
  const before = new Map(
    [...parent.children].map((element) => [/** @type {any} */ (element).dataset.kept, element]),
  );
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = name(item);
    let element = before.get(id);
    if (element) {
      before.delete(id);
    } else {
      element = create(item);
      /** @type {any} */ (element).dataset.kept = id;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  }
  for (const element of before.values()) element.remove();
}

/** Calls it when nothing has been typed for a moment. @param {number} ms @param {() => void} then */
export function afterTyping(ms, then) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(then, ms);
  };
}
