import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SseParser } from '../encke.js';

function parse(...chunks) {
  const events = [];
  const parser = new SseParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}
const datas = (...chunks) => parse(...chunks).map((event) => event.data);

test('lines end with CR, LF or CRLF', () => {
  for (const end of ['\n', '\r', '\r\n'])
    assert.deepEqual(
      datas(`data: a${end}data:b${end}${end}data: c${end}${end}`),
      ['a\nb', 'c'],
      JSON.stringify(end),
    );
  assert.deepEqual(datas('data: a\r\ndata: b\n\rdata: c\r\n\r\n'), ['a\nb', 'c']);
});

test('it does not matter where the chunks are cut', () => {
  const text =
    '\ufeff: hello\r\nid: 1\r\nevent: open\r\ndata: {"a":\r\ndata: 1}\r\n\r\n:\r\n\r\ndata\r\n\r\nid\r\ndata: x\r\n\r\n';
  const whole = parse(text);
  assert.equal(whole.length, 3);
  for (let i = 1; i < text.length; i++) {
    assert.deepEqual(parse(text.slice(0, i), text.slice(i)), whole);
    for (let j = i + 1; j < text.length; j += 7)
      assert.deepEqual(parse(text.slice(0, i), text.slice(i, j), text.slice(j)), whole);
  }
  assert.deepEqual(parse(...text), whole);
});

test('fields', () => {
  assert.deepEqual(parse('event: gap\nid: c1\ndata: x\n\ndata: y\n\n'), [
    { event: 'gap', data: 'x', lastEventId: 'c1' },
    { event: 'message', data: 'y', lastEventId: 'c1' },
  ]);
  assert.deepEqual(datas('data:  two spaces\n\n'), [' two spaces']);
  assert.deepEqual(datas('data:no space\n\n'), ['no space']);
  assert.deepEqual(datas('data: a:b: c\n\n'), ['a:b: c']);
  assert.deepEqual(datas('data\n\n'), [''], 'a field without a colon has an empty value');
  assert.deepEqual(
    datas('Data: a\ndatum: b\nretry: 10\nfoo\n\n'),
    [],
    'unknown fields and other cases are ignored',
  );
});

test('an event without data is not dispatched, and its name does not stick', () => {
  assert.deepEqual(parse('event: close\nid: 9\n\ndata: x\n\n'), [
    { event: 'message', data: 'x', lastEventId: '9' },
  ]);
});

test('an id with NUL is ignored, an empty one resets', () => {
  assert.deepEqual(
    parse('id: 1\ndata: a\n\nid: 2\0\ndata: b\n\nid\ndata: c\n\n').map((event) => event.lastEventId),
    ['1', '1', ''],
  );
});

test('an id alone moves the last event id once its block is complete', () => {
  const parser = new SseParser(() => assert.fail('this is no event'));
  parser.push('id: 5\n');
  assert.equal(parser.lastEventId, '');
  parser.push('\n');
  assert.equal(parser.lastEventId, '5');
});

test('comments are no events, and the unfinished end is dropped', () => {
  assert.deepEqual(datas(': hi\n\n:\n\ndata: a\n\ndata: b\n', 'data: c'), ['a']);
});

test('only the first byte order mark is one', () => {
  assert.deepEqual(datas('\ufeffdata: a\n\n'), ['a']);
  assert.deepEqual(datas('data: a\n\n', '\ufeffdata: b\n\n'), ['a']);
});

test('a line without end does not fill the memory', () => {
  const parser = new SseParser(() => {});
  const chunk = 'x'.repeat(1 << 20);
  assert.throws(() => {
    for (let i = 0; i < 10; i++) parser.push(chunk);
  }, { code: 'too_large' });
  const lines = new SseParser(() => {});
  assert.throws(() => {
    for (let i = 0; i < 10; i++) lines.push('data: ' + chunk + '\n');
  }, { code: 'too_large' });
  const fine = new SseParser(() => {});
  for (let i = 0; i < 10; i++) fine.push('data: ' + chunk + '\n\n: ' + chunk + '\n');
});

// What a browser's EventSource makes of the same bytes is found out in tests/e2e/vectors.test.js.
const { streams } = JSON.parse(
  readFileSync(new URL('../../../tests/vectors/sse.json', import.meta.url), 'utf8'),
);
for (const { name, chunks, events } of streams) {
  test(`as a browser does: ${name}`, () => {
    const bytes = chunks.map((chunk) => Uint8Array.from(chunk, (byte) => byte.charCodeAt(0)));
    assert.deepEqual(
      parse(...bytes).map(({ event, data, lastEventId }) => [event, data, lastEventId]),
      events,
    );
  });
}
