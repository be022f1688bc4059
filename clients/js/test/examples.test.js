/** The examples, with the frameworks that they are for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { effectScope, watch } from 'vue';
import * as react from '../examples/react.js';
import * as svelte from '../examples/svelte.js';
import * as vue from '../examples/vue.js';
import { message, opened } from './world.js';

const news = (offset) => message(offset, { channel: 'news' });
const offsets = (messages) => messages.map(({ offset }) => offset);

for (const name of ['react', 'vue', 'svelte']) {
  test(`the example for ${name} is built for browsers`, async () => {
    const { errors, warnings } = await build({
      entryPoints: [new URL(`../examples/${name}.js`, import.meta.url).pathname],
      bundle: true,
      format: 'esm',
      write: false,
      define: { 'process.env.NODE_ENV': '"production"' },
      logLevel: 'silent',
    });
    assert.deepEqual([errors, warnings], [[], []]);
  });
}

test('a React component shows the state and the messages', async () => {
  const w = await opened({ channels: ['news'] });
  const View = () =>
    `${react.useEnckeState(w.client)} ${offsets(react.useMessages(w.client, 'news')).join()}`;
  assert.equal(renderToString(createElement(View)), 'open ');
});

test('a Vue scope follows the state and the messages, and lets go of them', async () => {
  const w = await opened({ channels: ['news'] });
  const scope = effectScope();
  const told = [];
  const { state, messages } = scope.run(() => {
    const all = { state: vue.useEnckeState(w.client), messages: vue.useMessages(w.client, 'news', 2) };
    watch(all.messages, (now) => told.push(offsets(now)), { flush: 'sync' });
    return all;
  });
  for (const n of [1, 2, 3]) await w.stream.event(news(n));
  assert.deepEqual(told, [[1], [1, 2], [2, 3]]);
  await w.stream.event({ event: 'close', code: 'operator', reason: '', reconnect: false });
  assert.equal(state.value, 'closed');
  scope.stop();
  w.client.channel('news').tell('message', news(4));
  assert.deepEqual(offsets(messages.value), [2, 3]);
});

test('a Svelte store follows the state and the messages while it is subscribed', async () => {
  const w = await opened({ channels: ['news'] });
  const told = [];
  const ends = [
    svelte.enckeState(w.client).subscribe((now) => told.push(now)),
    svelte.messages(w.client, 'news', 2).subscribe((now) => told.push(offsets(now))),
  ];
  for (const n of [1, 2, 3]) await w.stream.event(news(n));
  assert.deepEqual(told, ['open', [], [1], [1, 2], [2, 3]]);
  for (const end of ends) end();
  await w.stream.event(news(4));
  assert.equal(told.length, 5);
});
