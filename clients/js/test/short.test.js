/** The short form of messages, by the vectors that the server's own tests read. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ShortForm } from '../client/short.js';
import { bare, message, opened, polling, settle, token, world } from './world.js';

const FILE = new URL('../../../tests/vectors/short.json', import.meta.url);
const VECTORS = JSON.parse(readFileSync(FILE, 'utf8'));

test('every vector is read as the long form has it', () => {
  assert.ok(VECTORS.length > 10);
  for (const { name, epoch, long, short } of VECTORS) {
    const form = new ShortForm();
    const user = long.channel.startsWith('@') ? long.channel.slice(1) : 'alice';
    form.begin({ user, epoch: epoch ?? undefined });
    const { event, ...read } = form.read(JSON.parse(short));
    assert.equal(event, 'message');
    const { id, ...rest } = long;
    assert.deepEqual(read, long.channel.startsWith('@') ? { id, ...rest } : rest, name);
  }
});

test('a client asks for it unless it is told otherwise, and takes either', async () => {
  const w = await opened();
  assert.equal(w.stream.form, 'short');
  const long = await opened({ form: 'long' });
  assert.equal(long.stream.form, null);
  await w.stream.event(message(1));
  assert.deepEqual(w.of('message').map(({ offset }) => offset), [1]);
});

test('an open, and each answer to a poll, says whose and of which epoch the messages are', async () => {
  const socket = world({ url: 'http://server', token: token('alice'), transport: 'ws' });
  socket.client.connect();
  await settle();
  await socket.ticket();
  socket.sockets[0].readyState = 1;
  const open = { event: 'open', session: 's', cursor: '1~e~@alice~0', heartbeat_s: 20 };
  await socket.sockets[0].event({ ...open, user: 'alice', epoch: 'e' });
  await socket.sockets[0].event([1, 'ABnrnaitISNFZ4mrze8BI0', 'hello']);
  const [told] = socket.of('message');
  assert.deepEqual([told.channel, told.epoch, told.data], ['@alice', 'e', 'hello']);
  assert.equal(told.time, '2026-06-12T03:22:47.890Z');
  const poll = await polling();
  const answer = { session: 's1', cursor: '1~e~@alice~2', gaps: [], close: null, user: 'alice', epoch: 'f' };
  const short = [2, 'ABnrnaitISNFZ4mrze8BI0', 'hi'];
  await poll.next('/v1/poll').json({ ...answer, messages: [short, bare(message(3))] });
  assert.deepEqual(poll.of('message').map(({ offset, epoch }) => [offset, epoch]), [[2, 'f'], [3, 'e']]);
});

test('a message of a kind that is not known counts, and is not told', async () => {
  const w = await opened();
  await w.stream.event({ event: 'open', session: 's1', user: 'alice' });
  await w.stream.write('data: [7,"ABnrnaitISNFZ4mrze8BI0",null,9,0,"e"]\n\n');
  assert.deepEqual([w.of('message').length, w.of('error').length], [0, 0]);
  assert.equal(w.client.cursor, '1~e~@alice~7');
});
