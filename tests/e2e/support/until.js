/**
 * How long anything may take that is expected to happen. It is generous, since a loaded machine is slow; what
 * is there earlier is seen earlier.
 */
export const DEADLINE_MS = 20_000;
const LOOK_EVERY_MS = 20;

/** Thrown by a look that knows that waiting is in vain. */
export class Never extends Error {}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Looks again and again until `look` gives something true, and gives that. A look that throws counts as not
 * yet, and its error is told at the deadline. @template T @param {string} what the condition, for the reader
 * of the failure @param {() => T | Promise<T>} look
 */
export async function until(what, look, ms = DEADLINE_MS) {
  const ends = performance.now() + ms;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
      last = `the last look gave ${JSON.stringify(found)}`;
    } catch (error) {
      if (error instanceof Never) throw error;
      last = error?.stack ?? String(error);
    }
    if (performance.now() > ends) throw new Error(`not within ${ms} ms: ${what}; ${last}`);
    await pause(LOOK_EVERY_MS);
  }
}

/**
 * Looks for a while, and fails as soon as what has to hold does not. For what must not happen there is no
 * other proof than time.
 */
export async function always(what, ms, look) {
  const ends = performance.now() + ms;
  do {
    if (!(await look())) throw new Error(`did not hold: ${what}`);
    await pause(LOOK_EVERY_MS);
  } while (performance.now() < ends);
}

/** The promise, or a failure once its time is over. */
export function within(what, promise, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
