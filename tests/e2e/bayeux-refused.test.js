// What the clients of CometD and Faye do, as they are, when their session cannot go on: none of them tries
// for ever, and one that may come back does so by itself.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { CometClient, FayeClient } from './support/bayeux.js';
import { Front } from './support/front.js';
import { freePort } from './support/port.js';
import { temporaryDirectory } from './support/program.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const SWITCHED_ON = { ENCKE_DIALECTS_BAYEUX: 'true', ENCKE_SESSION_GRACE_S: '1' };
/** Longer than any pause that these clients make between two tries. */
const QUIET_MS = 3_000;

const comet = (websocket) => async (url, token) => new CometClient(url, { websocket, token }).open();
const faye = (transport) => async (url, token) => new FayeClient(url, { transport, token });
const KINDS = {
  'CometD by long-polling': comet(false),
  'CometD over WebSocket': comet(true),
  'Faye by long-polling': faye('long-polling'),
  'Faye over WebSocket': faye('websocket'),
};

/** The way of one client to the server, which can be cut and counts what comes over it. */
class Way {
  requests = 0;
  #front;

  static async to(server) {
    const way = new Way();
    way.target = server.port;
    way.port = await freePort();
    way.url = `http://127.0.0.1:${way.port}`;
    await way.mend();
    return way;
  }

  mend() {
    this.#front = new Front(() => (this.requests++, [this.target]));
    return this.#front.listen(this.port);
  }

  /** Waits until the client asks for nothing more. */
  async rests(kind) {
    await until(`${kind}: it asks no more`, async () => {
      const before = this.requests;
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
      return this.requests === before;
    });
  }

  cut() {
    return this.#front.close();
  }
}

const publish = async (server, channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

/** Each kind of client at once, in its own room and with its own user. */
const each = (work) =>
  Promise.all(Object.entries(KINDS).map(([kind, open], number) => work({ kind, open, number })));

test('a place that was taken meanwhile: the client goes on without it', { timeout: 60_000 }, async () => {
  const { dir, remove } = await temporaryDirectory();
  const config = path.join(dir, 'encke.toml');
  const open = 'subscribe = "users"\npublish = "users"\n';
  const bounded = `[[rules]]\nchannel = "/few*"\n${open}followers_max = 1\n`;
  await writeFile(config, `${bounded}[[rules]]\nchannel = "*"\n${open}`);
  const server = await Server.start({ engine: 'memory', env: SWITCHED_ON, args: ['--config', config] });
  await each(async ({ kind, open, number }) => {
    const [few, all, user] = [`/few${number}`, `/all${number}`, `user ${number}`];
    const way = await Way.to(server);
    const client = await open(way.url, (await server.login(user)).token);
    await client.subscribe(few);
    await client.subscribe(all);
    await until(`${kind}: it is online`, () => server.isOnline(user));
    await way.cut();
    await until(`${kind}: the hub has let it go`, async () => (await server.sessions(user)).length === 0);
    const other = await comet(false)(server.url, (await server.login(`other ${number}`)).token);
    await other.subscribe(few);
    await way.mend();
    if (client instanceof CometClient) {
      const says = ({ ext }) => ext?.unsubscribed?.includes(few);
      await until(`${kind}: it is told`, () => client.replies.some(says));
      assert.equal(client.handshakes, 1, 'its session goes on');
    }
    await until(`${kind}: messages come`, async () => {
      await publish(server, all, 'for all');
      return client.data.includes('for all');
    });
    await publish(server, few, 'for few');
    await until(`${kind}: the other one has it`, () => other.data.includes('for few'));
    assert.ok(!client.data.includes('for few'), kind);
    await way.rests(kind);
    await Promise.all([client.close(), other.close()]);
    await way.cut();
  });
  await server.stop();
  await remove();
});

/** Of a session that is held, and of one that was written down and comes back after a restart. */
for (const restarts of [false, true]) {
  const when = restarts ? 'while the server was away' : 'while it listens';
  test(`tokens are revoked ${when}: clients ask once more and stay away`, { timeout: 60_000 }, async () => {
    const server = await Server.start({ engine: 'log', env: SWITCHED_ON });
    const all = await each(async ({ kind, open, number }) => {
      const way = await Way.to(server);
      const client = await open(way.url, (await server.login(`user ${number}`)).token);
      await client.subscribe('/a');
      await until(`${kind}: it is online`, () => server.isOnline(`user ${number}`));
      return { kind, way, client, number };
    });
    if (restarts) {
      await Promise.all(all.map(({ way }) => way.cut()));
      await server.restart('SIGKILL');
    }
    for (const { number } of all)
      (await server.api('POST', '/api/revoke', { user: `user ${number}` })).with(200);
    if (restarts) await Promise.all(all.map(({ way }) => way.mend()));
    await Promise.all(
      all.map(async ({ kind, way, client }) => {
        if (client instanceof CometClient) {
          const isDenied = ({ error }) => error === '403:revoked:handshake_denied';
          await until(`${kind}: it is denied`, () => client.replies.some(isDenied));
        } else {
          await until(`${kind}: it is denied`, () => client.client._advice.reconnect === 'none');
        }
        await way.rests(kind);
        await publish(server, '/a', 1);
        assert.deepEqual(client.data, [], kind);
        await way.cut();
      }),
    );
    await server.stop();
  });
}

test('what rules took away is told again after a crash', { timeout: 60_000 }, async () => {
  const { dir, remove } = await temporaryDirectory();
  const config = path.join(dir, 'encke.toml');
  const rule = (channel) => `[[rules]]\nchannel = "${channel}"\nsubscribe = "users"\npublish = "users"\n`;
  await writeFile(config, rule('/a*') + rule('/b'));
  const server = await Server.start({ engine: 'log', env: SWITCHED_ON, args: ['--config', config] });
  const { token } = await server.login('alice');
  let [clientId, id] = [undefined, 0];
  const ask = async (channel, members) => {
    const message = { channel, id: `${++id}`, clientId, connectionType: 'long-polling', ...members };
    const replies = (await server.ask('POST', '/cometd', { body: [message] })).with(200);
    const reply = replies.at(-1);
    assert.ok(reply.successful, JSON.stringify(reply));
    return reply;
  };
  const connect = (ack, timeout = 0) => ask('/meta/connect', { ext: { ack }, advice: { timeout } });
  const types = { supportedConnectionTypes: ['long-polling'] };
  ({ clientId } = await ask('/meta/handshake', { ...types, ext: { token, ack: true } }));
  await ask('/meta/subscribe', { subscription: ['/a1', '/b'] });
  const { ext } = await connect(0);
  await writeFile(config, rule('/a*'));
  server.program.child.kill('SIGHUP');
  const told = await connect(ext.ack, 20_000);
  assert.deepEqual(told.ext.unsubscribed, ['/b']);
  // The answer is lost. This is written down before it is answered.
  await ask('/meta/subscribe', { subscription: '/a2' });
  await writeFile(config, rule('/a*') + rule('/b'));
  await server.restart('SIGKILL');
  const again = await connect(ext.ack);
  assert.deepEqual(again.ext.unsubscribed, ['/b']);
  assert.equal((await connect(again.ext.ack)).ext.unsubscribed, undefined, 'it has heard');
  await server.stop();
  await remove();
});
