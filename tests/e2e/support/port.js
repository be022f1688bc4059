import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';

/**
 * The ports that the kernel gives to outgoing connections: none of ours may be one of them, or a connection
 * could take it while its server restarts.
 */
const [GIVEN_FROM, GIVEN_TO] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
  .trim()
  .split(/\s+/)
  .map(Number);
const [PORT_FROM, PORT_TO] = [10_240, 65_000];

/**
 * A process that listens at a port of this address has it reserved at the address where servers listen, for
 * as long as this process lives. No server listens here.
 */
const RESERVED_AT = '127.255.255.254';
const LISTENED_AT = '127.0.0.1';
const TRIES = 1_000;

/** A port without a listener, and that no other process of these tests is given. */
export async function freePort() {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = randomInt(PORT_FROM, PORT_TO);
    if (port >= GIVEN_FROM && port <= GIVEN_TO) continue;
    const reserved = await listen(port, RESERVED_AT);
    if (!reserved) continue;
    reserved.unref();
    const probe = await listen(port, LISTENED_AT);
    if (probe) {
      await new Promise((resolve) => probe.close(resolve));
      return port;
    }
    reserved.close();
  }
  throw new Error('there is no free port');
}

/** Who listens there now, or nothing, when another process does. */
function listen(port, host) {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(port, host, () => resolve(server));
  });
}
