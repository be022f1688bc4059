import { randomInt } from 'node:crypto';
import net from 'node:net';

/** The first port that the kernel gives to outgoing connections is above these, so that none of them can take a server's port while it restarts. */
const [PORT_FROM, PORT_TO] = [10_240, 32_000];

/** A port at which nobody listens. */
export async function freePort() {
  for (;;) {
    const port = randomInt(PORT_FROM, PORT_TO);
    const free = await new Promise((resolve) => {
      const probe = net.createServer().once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
