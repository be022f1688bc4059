// Faye's server, to be measured: at `/bayeux`, in memory, at its defaults but for how long it holds a poll.
// What is posted to `/publish?channel=` is published to that channel. Its argument is the directory that has
// Faye in it. Clients do not come from here.
'use strict';

const http = require('node:http');
const path = require('node:path');

const modules = path.join(process.argv[2], 'node_modules');
const faye = require(path.join(modules, 'faye'));
const { version } = require(path.join(modules, 'faye', 'package.json'));

const HOLD_S = 120;

const bayeux = new faye.NodeAdapter({ mount: '/bayeux', timeout: HOLD_S });
const publisher = bayeux.getClient();
const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (request.method !== 'POST' || pathname !== '/publish') return response.writeHead(404).end();
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  await publisher.publish(searchParams.get('channel'), JSON.parse(Buffer.concat(chunks).toString()));
  return response.writeHead(200, { 'content-length': 0 }).end();
});
bayeux.attach(server);
server.keepAliveTimeout = 0;
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`version ${version} (Node ${process.versions.node})`);
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
