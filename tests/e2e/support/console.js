// The operator's tab before the made-up server, and what one does in it. Not what a test expects of it.
import { KEY } from './large-server.js';
import { until } from './until.js';

const VIEWPORT = { width: 1280, height: 860 };

/** Opens the console of the made-up server. */
export async function open(browser, server, options = {}) {
  const context = await browser.newContext({ viewport: VIEWPORT, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${server.url}/console#key=${KEY}`);
  await page.waitForSelector('#users [data-user]');
  return { page, context, errors };
}

/** Goes to another part. */
export const go = (page, place) => page.evaluate((place) => void (location.hash = place), place);

/** Answers the question that is asked, and gives its text. */
export async function answer(page, button = '#question-yes') {
  await page.waitForSelector('#question[open]');
  const text = await page.textContent('#question');
  await page.click(button);
  return text;
}

/** Logs out, which begins the page anew. */
export async function logOut(page) {
  await Promise.all([page.waitForEvent('load'), page.click('#forget-button')]);
  await page.waitForSelector('#gate:not([hidden])');
}

/** What the text of an element is, once it is that. */
export const says = (page, selector, pattern) =>
  until(`${selector} says ${pattern}`, async () => pattern.test((await page.textContent(selector)) ?? ''));
