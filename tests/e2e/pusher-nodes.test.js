// Clients of Pusher on two nodes: who is in a presence channel, whichever node is asked, and when one is
// killed.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { backend, client, named, settings, subscribed } from './support/pusher.js';
import { CLUSTER, Server } from './support/server.js';
import { always, until } from './support/until.js';
import { endpoint } from './support/webhooks.js';

const KIND = CLUSTER || 'redis';
/** Long enough for what must not come. */
const QUIET_MS = 1_000;

describe(`presence on two nodes on ${KIND}`, () => {
  let server;
  let hooks;
  before(async () => {
    hooks = await endpoint();
    const env = settings({ webhook: `${hooks.at}/1`, webhook_allow_private: true });
    server = await Server.start({ cluster: KIND, env });
  });
  after(async () => {
    await server.stop();
    hooks.close();
    hooks.closeAllConnections();
  });

  const asked = async (node, path, params) => {
    const response = await backend(server.node(node)).get({ path, params });
    assert.equal(response.status, 200);
    return response.json();
  };
  const users = async (node, channel) =>
    (await asked(node, `/channels/${channel}/users`)).users.map(({ id }) => id).sort();
  const join = async (node, user, channel) => {
    const pusher = await client(server.node(node), { user, info: { name: user.toUpperCase() } });
    return { pusher, channel: await subscribed(pusher, channel) };
  };
  const changes = ({ channel }) =>
    channel.events
      .filter(([name]) => name.startsWith('pusher:member_'))
      .map(([name, { id }]) => [name.slice('pusher:member_'.length), id]);
  const told = (channel) =>
    hooks
      .events('/1')
      .filter((event) => event.channel === channel && event.user_id !== undefined)
      .map(({ name, user_id }) => [name.slice('member_'.length), user_id]);

  test('a user is there once, by whatever nodes, and is told of once', { timeout: 120_000 }, async () => {
    const name = 'presence-room';
    const alice = await join(0, 'alice', name);
    const bob = await join(1, 'bob', name);
    const [succeeded] = named(bob.channel, 'pusher:subscription_succeeded').slice(-1);
    assert.deepEqual(bob.channel.members.get('alice').info, { name: 'ALICE' });
    assert.equal(succeeded[1].count, 2, 'she is there at the other node');
    await until('alice is told of bob', () => changes(alice).length === 1);
    const elsewhere = await join(0, 'bob', name);
    const again = await join(1, 'alice', name);
    const carol = await join(1, 'carol', name);
    await until('all are told of carol', () => {
      return [alice, bob, elsewhere].every((one) => changes(one).some(([, id]) => id === 'carol'));
    });
    assert.deepEqual(changes(alice), [['added', 'bob'], ['added', 'carol']]);
    assert.deepEqual(changes(carol), [], 'who comes is not told of it');
    for (const one of [alice, bob, elsewhere, again, carol]) assert.equal(one.channel.members.count, 3);
    for (const node of [0, 1]) {
      assert.deepEqual(await users(node, name), ['alice', 'bob', 'carol']);
      const { user_count } = await asked(node, `/channels/${name}`, { info: 'user_count' });
      assert.equal(user_count, 3);
      const { channels } = await asked(node, '/channels', {
        filter_by_prefix: 'presence-',
        info: 'user_count',
      });
      assert.deepEqual(channels[name], { user_count: 3 });
    }

    bob.pusher.disconnect();
    await always('he is there by the other node', QUIET_MS, () => changes(alice).length === 2);
    elsewhere.pusher.disconnect();
    // Each node tells its own.
    await until('bob is gone', () => changes(alice).length === 3 && changes(carol).length > 0);
    assert.deepEqual(changes(alice)[2], ['removed', 'bob']);
    assert.deepEqual(changes(carol), [['removed', 'bob']]);
    for (const node of [0, 1]) assert.deepEqual(await users(node, name), ['alice', 'carol']);
    for (const one of [alice, again, carol]) one.pusher.disconnect();
    await until('all are told by webhooks to have gone', () => told(name).length === 6);
    const sorted = (kind) => told(name).filter(([change]) => change === kind).map(([, id]) => id).sort();
    assert.deepEqual([sorted('added'), sorted('removed')], Array(2).fill(['alice', 'bob', 'carol']));
  });

  for (const dies of [0, 1])
    test(`the members of node ${dies} are gone once it is killed`, { timeout: 120_000 }, async () => {
      const [name, lives] = [`presence-${dies}`, 1 - dies];
      const stays = await join(lives, 'stays', name);
      const both = [await join(lives, 'both', name), await join(dies, 'both', name)];
      const goes = await join(dies, 'goes', name);
      await until('all are there', () => changes(stays).length === 2 && stays.channel.members.count === 3);
      await server.killNode(dies);
      // They would come back to the node.
      goes.pusher.disconnect();
      both[1].pusher.disconnect();
      await until('the one is gone', () => changes(stays).some(([change]) => change === 'removed'));
      assert.deepEqual(changes(stays), [['added', 'both'], ['added', 'goes'], ['removed', 'goes']]);
      assert.deepEqual(await users(lives, name), ['both', 'stays']);
      await until('that is told by a webhook', () => told(name).length === 4);
      assert.deepEqual(told(name)[3], ['removed', 'goes']);
      await server.startNode(dies);
      const back = await join(dies, 'goes', name);
      assert.equal(back.channel.members.count, 3);
      await until('it is told that it is back', () => changes(stays).length === 4);
      assert.deepEqual(changes(stays)[3], ['added', 'goes']);
      [stays, both[0], back].forEach(({ pusher }) => pusher.disconnect());
      await until('all are gone', async () => (await users(lives, name)).length === 0);
    });
});
