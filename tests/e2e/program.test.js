// The program as a stranger meets it, against a real server.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { request } from './support/http.js';
import { Program, run, temporaryDirectory } from './support/program.js';
import { API_KEY, Server, TOKEN_SECRET } from './support/server.js';
import { until } from './support/until.js';

/** Every error is one line on stderr. */
function failed(program, status, ...words) {
  assert.equal(program.status, status, program.stderr);
  assert.match(program.stderr, /^encke: [^\n]+\n$/);
  for (const word of words) assert.ok(program.stderr.includes(word), `${word} is not in: ${program.stderr}`);
}

function done(program) {
  assert.equal(program.status, 0, program.stderr);
  return program;
}

describe('serve and check-config', () => {
  let files;
  const file = async (name, text) => {
    await writeFile(path.join(files.dir, name), text);
    return path.join(files.dir, name);
  };
  before(async () => void (files = await temporaryDirectory()));
  after(() => files.remove());

  test('without dev mode and keys, serve refuses and says what to do', async () => {
    failed(
      await run(['serve'], { cwd: files.dir }),
      64,
      '`api_key`',
      '`token_secret`',
      'ENCKE_API_KEY',
      'ENCKE_TOKEN_SECRET',
      '--dev',
    );
    const one = await run(['serve'], { cwd: files.dir, env: { ENCKE_API_KEY: 'k3y-that-is-long-enough' } });
    failed(one, 64, '`token_secret`');
  });

  test('dev mode listens on loopback only', async () => {
    const open = await run(['serve', '--dev', '--listen', '0.0.0.0:0'], { cwd: files.dir });
    failed(open, 64, '--listen: listen: ');
  });

  test('wrong usage ends with 2', async () => {
    for (const args of [
      [],
      ['dance'],
      ['serve', '--colour'],
      ['serve', '--listen', 'here'],
      ['serve', '--engine', 'oracle'],
      ['push', '--all'],
      ['push', '--data', '1'],
      ['push', '--to', 'a', '--data', 'no json'],
      ['publish', '--channel', 'c'],
      ['listen'],
      ['listen', '--user', 'a', '--transport', 'pigeon'],
      ['close'],
      ['close', '--user', 'a', '--session', 'b'],
      ['token'],
    ]) {
      failed(await run(args, { cwd: files.dir }), 2);
    }
  });

  test('a configuration that is wrong ends with 64, and the key is named', async () => {
    failed(
      await run(['serve', '--dev'], { cwd: files.dir, env: { ENCKE_HOLD_S: '0' } }),
      64,
      'ENCKE_HOLD_S: hold_s: ',
    );
    failed(
      await run(['serve', '--dev', '--config', await file('bad.toml', 'heartbeat_s = "x"\n')], {
        cwd: files.dir,
      }),
      64,
      'bad.toml:1:1: heartbeat_s: ',
    );
    for (const [name, text, line] of [
      ['unknown.toml', 'colour = 1\n', ':1:1: colour: '],
      ['syntax.toml', 'listen =\n', ':1:'],
    ]) {
      const checked = await run(['check-config', await file(name, text)]);
      failed(checked, 64, name);
      assert.ok(checked.stdout.startsWith(path.join(files.dir, name) + line), checked.stdout);
    }
    failed(await run(['check-config', path.join(files.dir, 'nowhere.toml')]), 64, 'nowhere.toml');
  });

  test('check-config says ok', async () => {
    const good = await file(
      'good.toml',
      `listen = "127.0.0.1:0"\napi_key = "${API_KEY}"\ntoken_secret = "${TOKEN_SECRET}"\n`,
    );
    assert.equal(done(await run(['check-config', good])).stdout, 'ok\n');
  });

  test('serve takes its options from a file, the environment and the command line, the latter first', async () => {
    const data = path.join(files.dir, 'from-file');
    await mkdir(data, { recursive: true });
    const config = await file(
      'serve.toml',
      `listen = "127.0.0.1:1"\nengine = "log"\nnode = "from-file"\ndata = ${JSON.stringify(data)}\n` +
        `api_key = "${API_KEY}"\ntoken_secret = "${TOKEN_SECRET}"\n`,
    );
    const program = new Program(['serve', '--config', config, '--listen', '127.0.0.1:0'], {
      env: { ENCKE_ENGINE: 'memory' },
    });
    try {
      const line = await program.line('where it listens', (line) => line.startsWith('listening on '));
      assert.match(line, /^listening on http:\/\/127\.0\.0\.1:[1-9]\d*$/);
      const url = line.slice('listening on '.length);
      assert.equal((await request(`${url}/healthz`)).with(200).node, 'from-file');
      const pushed = await request(`${url}/api/push`, {
        method: 'POST',
        headers: { authorization: `Bearer ${API_KEY}` },
        body: { to: ['a'], data: 1 },
      });
      assert.equal(pushed.with(202).mode, 'memory');
      assert.equal(program.lines.length, 1, 'outside dev mode the key is not printed');
    } finally {
      await program.kill('SIGTERM');
    }
    assert.equal(program.status, 0, program.stderr);
  });

  test('in dev mode keys are made, kept, and printed with the address of the console', async () => {
    const cwd = path.join(files.dir, 'dev');
    await mkdir(cwd);
    const keys = [];
    for (const _ of [1, 2]) {
      const program = new Program(['serve', '--dev', '--listen', '127.0.0.1:0'], { cwd });
      try {
        const line = await program.line('the console', (line) => line.startsWith('console '));
        const [, url, key] = /^console (http:\/\/127\.0\.0\.1:\d+)\/console#key=(.+)$/.exec(line);
        assert.equal(program.lines[0], `listening on ${url}`);
        (await request(`${url}/api/users`, { headers: { authorization: `Bearer ${key}` } })).with(200);
        keys.push(key);
        // On the same machine and in the same directory the commands find the key by themselves.
        done(await run(['who', '--server', url], { cwd }));
      } finally {
        await program.kill('SIGTERM');
      }
    }
    assert.equal(keys[0], keys[1], 'the key outlives the process');
  });

  test('SIGINT and SIGTERM end the server with 0, soon, even while a client waits', async () => {
    for (const signal of ['SIGINT', 'SIGTERM']) {
      const server = await Server.start();
      const alice = await server.login('alice');
      const stream = await alice.stream();
      const bob = await server.login('bob');
      const { session, cursor } = await bob.look();
      const poll = bob.poll({ session, cursor });
      await server.held('bob');
      await server.kill(signal);
      assert.equal(server.program.status, 0, server.program.stderr);
      const close = await stream.next();
      assert.deepEqual([close.event, close.code, close.reconnect], ['close', 'shutdown', true]);
      assert.equal((await poll).with(200).close.reconnect, true);
      await server.stop();
    }
  });

  test('a second server at the same address is refused with 1', async () => {
    const server = await Server.start();
    try {
      const second = new Program([
        'serve',
        '--dev',
        '--listen',
        `127.0.0.1:${server.port}`,
        '--data',
        path.join(files.dir, 'second'),
      ]);
      try {
        await until('it ended', () => !second.running || second.stdout);
        assert.equal(second.stdout, '', 'it would take half of the connections of the first');
        await second.end();
        failed(second, 1, String(server.port));
      } finally {
        await second.kill('SIGKILL');
      }
    } finally {
      await server.stop();
    }
  });

  test('a second server on the same data is refused', async () => {
    const server = await Server.start();
    const second = new Program(['serve', '--dev', '--listen', '127.0.0.1:0', '--data', server.data]);
    try {
      await until('it ended', () => !second.running || second.stdout);
      assert.equal(second.stdout, '', 'two would write into one log');
      await second.end();
      failed(second, 1);
    } finally {
      await second.kill('SIGKILL');
      await server.stop();
    }
  });
});



describe('the commands', () => {
  let server;
  before(async () => void (server = await Server.start()));
  after(() => server.stop());

  test('an unreachable server ends with 69', async () => {
    for (const args of [
      ['push', '--all', '--data', '1'],
      ['publish', '--channel', 'c', '--data', '1'],
      ['who'],
      ['sessions'],
      ['close', '--user', 'a'],
      ['listen', '--user', 'a'],
    ]) {
      // Port 1 needs a privilege to listen at, so no server does.
      failed(await run(args, { env: { ENCKE_URL: 'http://127.0.0.1:1', ENCKE_API_KEY: API_KEY } }), 69);
    }
  });

  test('a refusal ends with 1 and names the code', async () => {
    failed(await run(['who'], { env: { ENCKE_URL: server.url, ENCKE_API_KEY: 'wrong' } }), 1, 'unauthorized');
    failed(await server.cli('push', '--to', 'a', '--url', 'javascript:alert(1)'), 1, 'bad_url');
    failed(await server.cli('publish', '--channel', '@a', '--data', '1'), 1, 'bad_name');
  });

  for (const transport of ['poll', 'sse', 'ndjson', 'ws']) {
    test(`push, publish, listen, who, sessions and close work together, by ${transport}`, async () => {
      const user = `cli-${transport}`;
      const listener = server.startCli(
        'listen',
        '--user',
        user,
        '--channel',
        `news-${transport}`,
        `rain-${transport}`,
        '--transport',
        transport,
      );
      try {
        await until('the listener waits', async () => (await server.sessions(user))[0]?.connected);
        const pushed = done(await server.cli('push', '--to', user, '--data', '{"n":1}')).objects[0];
        assert.deepEqual(
          [pushed.mode, pushed.accepted, pushed.online, pushed.offline],
          [server.mode, 1, [user], []],
        );
        done(await server.cli('push', '--to', user, '--url', 'https://example.com/x'));
        const published = done(
          await server.cli('publish', '--channel', `rain-${transport}`, '--data', '"wet"'),
        ).objects[0];
        assert.equal(published.offset, 1);
        await until('three lines', () => listener.lines.length >= 3);
        const [data, page, rain] = listener.objects;
        assert.deepEqual(
          [data.type, data.channel, data.data, data.offset],
          ['message', `@${user}`, { n: 1 }, 1],
        );
        assert.deepEqual([page.type, page.url], ['page', 'https://example.com/x']);
        assert.deepEqual([rain.channel, rain.data], [`rain-${transport}`, 'wet']);

        const who = done(await server.cli('who')).objects.find((one) => one.id === user);
        assert.deepEqual([who.online, who.sessions], [true, 1]);
        const sessions = done(await server.cli('sessions', '--user', user)).objects;
        assert.equal(sessions.length, 1);
        assert.deepEqual(
          [sessions[0].user, sessions[0].transport, [...sessions[0].channels].sort()],
          [user, transport, [`news-${transport}`, `rain-${transport}`]],
        );

        assert.deepEqual(done(await server.cli('close', '--user', user, '--reason', 'tidy up')).objects, [
          { closed: 1 },
        ]);
        await listener.end();
        assert.equal(listener.status, 0, 'a purposeful close is no failure');
        assert.match(listener.stderr, /closed \(operator\): tidy up/);
        assert.equal(done(await server.cli('who')).objects.some((one) => one.id === user), false);
        const again = await server.cli('close', '--session', sessions[0].session);
        failed(again, 1, 'nothing was closed', sessions[0].session);
        assert.deepEqual(again.objects, [{ closed: 0 }]);
      } finally {
        await listener.kill('SIGKILL');
      }
    });
  }

  for (const transport of ['poll', 'sse', 'ndjson', 'ws']) {
    test(`listen goes on where it was when the server was killed and has come back, by ${transport}`, async () => {
      const user = `again-${transport}`;
      const mine = await Server.start();
      const listener = mine.startCli('listen', '--user', user, '--channel', 'news', '--transport', transport);
      try {
        await until('the listener waits', async () => (await mine.sessions(user))[0]?.connected);
        for (let n = 1; n <= 3; n++)
          done(await mine.cli('publish', '--channel', 'news', '--data', String(n)));
        await until('three lines', () => listener.lines.length >= 3);
        await mine.kill();
        await mine.startAgain();
        for (let n = 4; n <= 6; n++)
          done(await mine.cli('publish', '--channel', 'news', '--data', String(n)));
        await mine.push({ to: [user], data: 'last' });
        await until('it has come back', () => listener.objects.some(({ data }) => data === 'last'));
        await until('seven lines', () => listener.lines.length >= 7);
        assert.deepEqual(
          listener.objects.filter(({ channel }) => channel === 'news').map(({ data }) => data),
          [1, 2, 3, 4, 5, 6],
        );
        assert.doesNotMatch(listener.stderr, /gap/);
      } finally {
        await listener.kill('SIGKILL');
        await mine.stop();
      }
    });
  }

  test('listen that is told to stop closes its session before it ends', async () => {
    const listener = server.startCli('listen', '--user', 'stopped', '--transport', 'sse');
    await server.push({ to: ['stopped'], data: 1 });
    await until('it listens', () => listener.lines.length === 1);
    await listener.kill('SIGINT');
    assert.equal(listener.status, 0, listener.stderr);
    assert.deepEqual(await server.sessions('stopped'), []);
    assert.equal(await server.isOnline('stopped'), false);
  });

  test('check-url says how a page answers the server, which has to allow that', async () => {
    failed(await server.cli('check-url', server.url), 1, 'url_checks');
    const checking = await Server.start({ engine: 'memory', env: { ENCKE_URL_CHECKS: 'any' } });
    try {
      const [checked] = done(await checking.cli('check-url', `${server.url}/console`)).objects;
      assert.deepEqual([checked.status, checked.frames, checked.frame_ancestors], [200, 'none', "'none'"]);
    } finally {
      await checking.stop();
    }
  });

  test('push --wait shows receipts as they come in, until each is settled', async () => {
    const push = server.startCli('push', '--to', 'wait-a', 'wait-b', '--data', '1', '--wait');
    try {
      await until('the first receipts', () => push.lines.length >= 3);
      assert.deepEqual(
        push.objects
          .slice(1)
          .map(({ user, state }) => `${user} ${state}`)
          .sort(),
        ['wait-a queued', 'wait-b queued'],
      );
      assert.ok(push.running);
      await (await server.login('wait-a')).take(1);
      await push.line('that a has it', (line) => line.includes('wait-a') && line.includes('delivered'));
      assert.ok(push.running);
      await (await server.login('wait-b')).take(1);
      await push.end();
      assert.equal(push.status, 0);
      assert.equal(push.objects.at(-1).state, 'delivered');
    } finally {
      await push.kill('SIGKILL');
    }
  });

  test('push --wait ends when the time is over', async () => {
    const push = done(await server.cli('push', '--to', 'too-late', '--data', '1', '--ttl', '1', '--wait'));
    assert.deepEqual(push.objects.slice(1).map(({ state }) => state), ['queued', 'expired']);
  });

  test('push --all reaches all users whom the server knows', async () => {
    await (await server.login('known')).look();
    await until('it is known', () => server.user('known'));
    const { accepted, offline, online } = done(await server.cli('push', '--all', '--data', '1')).objects[0];
    assert.equal(accepted, offline.length + online.length);
    assert.ok([...offline, ...online].includes('known'));
  });

  test('token signs what the server takes, with what was granted and no more', async () => {
    const env = { ENCKE_TOKEN_SECRET: TOKEN_SECRET };
    const token = done(
      await run(['token', '--user', 'signed', '--channel', 'room:*', '--ttl', '60'], { env }),
    ).lines[0];
    const user = server.as('signed', token);
    await user.look({ channels: 'room:1' });
    (await user.poll({ hold_s: 0, channels: 'hall' })).refused(403, 'channel_forbidden');
    const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    assert.equal(claims.sub, 'signed');
    assert.ok(Math.abs(claims.exp - Date.now() / 1000 - 60) < 30);
    const listener = new Program(['listen', '--user', 'signed', '--token', token], { env: server.cliEnv });
    try {
      await server.held('signed');
    } finally {
      await listener.kill('SIGTERM');
    }
    failed(await run(['token', '--user', 'x'], { cwd: '/' }), 64, '`token_secret`');
  });
});
