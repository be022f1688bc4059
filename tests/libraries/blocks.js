// The blocks of code of the quick starts: what stands behind the marks of a fence, and what is in it.
import { readFile } from 'node:fs/promises';

/** @returns {Promise<{info: string, text: string}[]>} */
export async function blocks(page) {
  const text = await readFile(new URL(`../../docs/start/${page}`, import.meta.url), 'utf8');
  return [...text.matchAll(/^```(.*)\n([^]*?)^```$/gm)].map(([, info, text]) => ({ info, text }));
}
