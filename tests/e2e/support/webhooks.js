// Where an application's webhooks are sent to.
import http from 'node:http';

/** A backend that keeps what it is sent, and answers with `status`. */
export async function endpoint() {
  const got = [];
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const { url, headers } = request;
      got.push({ url, headers, rawBody: Buffer.concat(pieces).toString(), status: server.status });
      response.writeHead(server.status, server.status === 307 ? { location: '/elsewhere' } : {}).end();
    });
  });
  server.status = 200;
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const events = (url) =>
    got
      .filter((request) => request.url === url && request.status === 200)
      .flatMap(({ rawBody }) => JSON.parse(rawBody).events);
  return Object.assign(server, { got, events, at: `http://127.0.0.1:${server.address().port}` });
}
