// A front before a server that does what networks and proxies do to libraries: it loses answers, refuses,
// keeps silent, breaks streams off. Each fault has a prefix of the path with a name that the test makes up,
// so that tests do not disturb each other: /lost/NAME/api/push.
import http from 'node:http';

/** The requests that came to each name, each with its body as far as it has come. */
const seen = new Map();

const bodyOf = (chunks) => Buffer.concat(chunks).toString();

/** What becomes of a request; `times` is how many came to this name, with this one. */
const FAULTS = {
  /** The first is carried out, and its answer is lost. */
  lost: (asked, times) => asked.forward((answer) => (times === 1 ? asked.cut() : asked.answer(answer))),
  /** Each is carried out, and its answer is lost. */
  gone: (asked) => asked.forward(() => asked.cut()),
  /** The first is refused. */
  busy: (asked, times) => (times === 1 ? asked.refuse() : asked.forward((answer) => asked.answer(answer))),
  /** None is answered. */
  silent: () => {},
  /** Another server is there. */
  html: (asked) => asked.say(200, 'text/html', '<h1>It works!</h1>'),
  /** A proxy's own page, for the first. */
  proxy: (asked, times) =>
    times === 1
      ? asked.say(502, 'text/html', '<h1>Bad Gateway</h1>')
      : asked.forward((answer) => asked.answer(answer)),
  /** It leads elsewhere. */
  moved: (asked) => asked.say(307, 'text/plain', '', { location: `${asked.server}${asked.path}` }),
  /** A stream is cut off in the middle of the answer. */
  broken: (asked) => asked.forward((answer) => asked.begin(answer, () => asked.cut())),
  /** A stream has an answer that is whole, and too short. */
  ended: (asked) => asked.forward((answer) => asked.begin(answer, () => asked.response.end())),
  /** A stream has an answer with all results, and without an end. */
  endless: (asked) => asked.forward((answer) => asked.answer(answer, { end: false })),
};

/** A request, and what can be done with it. */
class Asked {
  constructor(server, request, response, path) {
    Object.assign(this, { server, request, response, path });
  }

  forward(then) {
    const { method, headers } = this.request;
    const asked = http.request(`${this.server}${this.path}`, { method, headers, agent: false }, then);
    asked.on('error', () => this.cut());
    this.request.on('error', () => asked.destroy());
    this.request.pipe(asked);
  }

  answer(answer, options) {
    this.response.writeHead(answer.statusCode, answer.headers);
    answer.on('error', () => this.cut());
    answer.pipe(this.response, options);
  }

  /** Gives the beginning of an answer. */
  begin(answer, then) {
    this.response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] });
    answer.on('error', () => {}).once('data', (data) => this.response.write(data, then));
  }

  say(status, type, text, headers = {}) {
    this.request.resume();
    this.response.writeHead(status, { 'content-type': type, ...headers }).end(text);
  }

  refuse() {
    const error = { code: 'overloaded', message: 'come again' };
    this.say(503, 'application/json', JSON.stringify({ error }), { 'retry-after': '0' });
  }

  cut() {
    this.response.destroy();
  }
}

/** Starts it before the server at this address; gives its own address and what ends it. */
export async function faultyFront(server) {
  const front = http.createServer((request, response) => {
    const [, fault, name, path] = /^\/(\w+)\/([\w-]+)(\/.*)$/.exec(request.url) ?? [];
    const asked = new Asked(server, request, response, path);
    const requests = seen.get(name) ?? [];
    // How many requests came to a name, and their bodies.
    if (fault === 'count') return asked.say(200, 'application/json', String(requests.length));
    if (fault === 'bodies') return asked.say(200, 'application/json', JSON.stringify(requests.map(bodyOf)));
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    seen.set(name, [...requests, chunks]);
    const times = requests.length + 1;
    return FAULTS[fault] ? FAULTS[fault](asked, times) : asked.say(404, 'text/plain', 'no such fault');
  });
  await new Promise((resolve) => front.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${front.address().port}`,
    stop: () => new Promise((resolve) => (front.closeAllConnections(), front.close(resolve))),
  };
}
