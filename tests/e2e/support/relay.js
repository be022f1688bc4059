// A network between clients and servers that can be cut: what comes is passed on to one server, or to none.
import net from 'node:net';

export class Relay {
  #pairs = new Set();
  #listener;
  /** Where what comes is passed on to; 0 while the network is cut. */
  target = 0;
  port = 0;

  static async to(port) {
    const relay = new Relay();
    relay.target = port;
    relay.#listener = net.createServer((client) => relay.#pass(client));
    await new Promise((done) => relay.#listener.listen(0, '127.0.0.1', done));
    relay.port = relay.#listener.address().port;
    return relay;
  }

  #pass(client) {
    client.on('error', () => {});
    if (this.target === 0) return client.destroy();
    const server = net.connect(this.target, '127.0.0.1');
    const pair = [client, server];
    this.#pairs.add(pair);
    server.on('error', () => client.destroy());
    for (const [one, other] of [pair, [...pair].reverse()]) {
      one.pipe(other);
      one.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }

  /** Ends all connections without a word. */
  cut() {
    this.target = 0;
    for (const pair of this.#pairs) pair.forEach((socket) => socket.resetAndDestroy());
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  close() {
    this.cut();
    this.#listener.close();
  }
}
