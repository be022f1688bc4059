import http from 'node:http';
import net from 'node:net';

/**
 * A front without a memory: each request goes to the next node in turn, whichever client sent it and over
 * whatever connection. A node that does not answer is passed over, as a load balancer does.
 */
export class Front {
  #server;
  #turn = 0;
  #sockets = new Set();

  /** @param {() => number[]} ports the ports of all nodes */
  constructor(ports) {
    this.ports = ports;
    this.#server = http.createServer({ requireHostHeader: false }, (request, response) =>
      this.#pass(request, response),
    );
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => socket.destroy());
    });
    // The nodes know how long a request may take.
    Object.assign(this.#server, { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
  }

  listen(port) {
    return new Promise((resolve, reject) =>
      this.#server.once('error', reject).listen(port, '127.0.0.1', resolve),
    );
  }

  close() {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  /** The ports in the order in which they are to be tried. */
  #order() {
    const ports = this.ports();
    const first = this.#turn++ % ports.length;
    return [...ports.slice(first), ...ports.slice(0, first)];
  }

  async #pass(request, response) {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return;
    }
    const body = Buffer.concat(chunks);
    const [port, ...others] = this.#order();
    this.#ask(request, body, response, port, others);
  }

  #ask(request, body, response, port, others) {
    const { method, url, rawHeaders } = request;
    const asked = http.request({
      host: '127.0.0.1',
      port,
      method,
      path: url,
      headers: pairs(rawHeaders),
      agent: false,
      setHost: false,
    });
    response.once('close', () => asked.destroy());
    asked.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders.length ? pairs(answer.rawHeaders) : {});
      response.flushHeaders();
      answer.on('error', () => response.destroy()).on('aborted', () => response.destroy());
      answer.pipe(response);
    });
    asked.on('error', (error) => {
      if (response.headersSent || response.destroyed) return response.destroy();
      // No node was there, so the request was not taken.
      if (error.code === 'ECONNREFUSED' && others.length > 0)
        return this.#ask(request, body, response, others[0], others.slice(1));
      return response.destroy();
    });
    asked.end(body);
  }

  #upgrade(request, socket, head, order = this.#order()) {
    const [port, ...others] = order;
    const there = net.connect(port, '127.0.0.1');
    let connected = false;
    there.once('connect', () => {
      connected = true;
      const { method, url, httpVersion, rawHeaders } = request;
      const lines = [];
      for (let at = 0; at < rawHeaders.length; at += 2)
        lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}\r\n`);
      there.write(`${method} ${url} HTTP/${httpVersion}\r\n${lines.join('')}\r\n`);
      there.write(head);
      there.pipe(socket).pipe(there);
    });
    socket.on('error', () => there.destroy()).on('close', () => there.destroy());
    there.on('close', () => connected && socket.destroy());
    there.on('error', () =>
      !connected && others.length > 0 ? this.#upgrade(request, socket, head, others) : socket.destroy(),
    );
  }
}

/** Headers as they came, those of one hop left out. */
function pairs(raw) {
  const headers = {};
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at].toLowerCase();
    if (['connection', 'keep-alive', 'transfer-encoding'].includes(name)) continue;
    headers[raw[at]] = name in headers ? [headers[raw[at]], raw[at + 1]].flat() : raw[at + 1];
  }
  return headers;
}
