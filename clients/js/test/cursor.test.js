import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCursor, parseCursor } from '../encke.js';

const round = (text) => {
  const { positions, epoch } = parseCursor(text);
  return formatCursor(positions, epoch);
};

test('the example of the protocol is read and written', () => {
  const cursor = parseCursor('1~k3x9~@alice~12~news~7');
  assert.equal(cursor.epoch, 'k3x9');
  assert.equal(cursor.closed, false);
  assert.deepEqual(
    [...cursor.positions],
    [
      ['@alice', { epoch: 'k3x9', offset: 12 }],
      ['news', { epoch: 'k3x9', offset: 7 }],
    ],
  );
  assert.equal(round('1~k3x9~@alice~12~news~7'), '1~k3x9~@alice~12~news~7');
});

test('another epoch is written behind its offset', () => {
  const cursor = parseCursor('1~k3x9~@alice~0~news~7:zz');
  assert.deepEqual(cursor.positions.get('news'), { epoch: 'zz', offset: 7 });
  assert.equal(round('1~k3x9~@alice~0~news~7:zz'), '1~k3x9~@alice~0~news~7:zz');
});

test('the mark of a closed session is understood, and not handed on', () => {
  assert.equal(parseCursor('1~e~a~1~closed').closed, true);
  assert.equal(parseCursor('1~e~closed').closed, true);
  assert.equal(round('1~e~a~1~closed'), '1~e~a~1');
  // A channel may have that name; it always comes with its offset.
  assert.deepEqual([...parseCursor('1~e~closed~4').positions.keys()], ['closed']);
});

test('names are written so that nothing in them means anything', () => {
  for (const name of ['a~b', 'a!b', 'ü', '日本', '😀', 'a b', 'x+y&z=%', '@per:son/x_-.']) {
    const text = formatCursor([[name, { epoch: 'e', offset: 3 }]]);
    assert.match(text, /^1~e~[A-Za-z0-9\-._:@\/!]+~3$/);
    assert.deepEqual([...parseCursor(text).positions.keys()], [name]);
  }
  assert.equal(formatCursor([['a~b', { epoch: 'e', offset: 3 }]]), '1~e~a!7eb~3');
});

test('what is not a cursor is not guessed at', () => {
  const bad = [
    '',
    '1',
    '1~',
    '2~e~a~1',
    '1~e~a',
    '1~e~a~',
    '1~e~a~x',
    '1~e~a~-1',
    '1~e~a~01',
    '1~e~a~1:',
    '1~e~~1',
    '1~e~a!7~1',
    '1~e~a!7E~1',
    '1~e~!ff~1',
    '1~e~a b~1',
    'earliest',
    '1~e e~a~1',
    '1~e~a~1~other',
    '1~e~a~1~a~2',
  ];
  for (const text of bad) assert.equal(parseCursor(text), null, JSON.stringify(text));
});

test('no position, no cursor', () => {
  assert.equal(formatCursor([]), null);
});
