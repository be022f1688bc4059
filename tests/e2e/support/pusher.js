// The client and the server library of Pusher, as their project publishes them, pointed at a test's server.
import { createRequire } from 'node:module';

import { until } from './until.js';

const require = createRequire(import.meta.url);
const PusherClient = require('pusher-js');
const PusherServer = require('pusher');

// A connection that the server closed leaves a timer of the client behind, which would keep the process for
// 30 s.
const CLOSING_MS = 30_000;
const start = globalThis.setTimeout;
globalThis.setTimeout = (work, ms, ...more) => {
  const timer = start(work, ms, ...more);
  return ms === CLOSING_MS ? timer.unref() : timer;
};

export const APP = { id: '1', key: 'app-key', secret: 'app-secret' };

/** The settings of a server with this application. */
export const settings = (more = {}) => {
  const app = { ...APP, ...more };
  const pairs = Object.entries(app).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  return { ENCKE_DIALECTS_PUSHER: 'true', ENCKE_PUSHER_APPS: `[{ ${pairs.join(', ')} }]` };
};

/** An application's backend. */
export const backend = (server, more = {}) => {
  const { hostname, port } = new URL(server.url);
  const { id: appId, key, secret } = APP;
  return new PusherServer({ appId, key, secret, host: hostname, port, useTLS: false, ...more });
};

/**
 * A client, connected. Its backend signs whatever it asks, as the user that is named.
 * @param {{user?: string, info?: object, watchlist?: string[], transport?: string}} [who]
 */
export const client = async (server, who = {}, options = {}) => {
  const { hostname, port } = new URL(server.url);
  const signer = backend(server);
  const authorize = ({ socketId, channelName }, done) => {
    const member = who.user === undefined ? undefined : { user_id: who.user, user_info: who.info };
    const isPresence = channelName.startsWith('presence-');
    try {
      done(null, signer.authorizeChannel(socketId, channelName, isPresence ? member : undefined));
    } catch (error) {
      done(error, null);
    }
  };
  const authenticate = ({ socketId }, done) => {
    const { user: id, info: user_info, watchlist } = who;
    done(null, signer.authenticateUser(socketId, { id, user_info, watchlist }));
  };
  const pusher = new PusherClient(options.key ?? APP.key, {
    cluster: 'mt1',
    wsHost: hostname,
    wsPort: Number(port),
    httpHost: hostname,
    httpPort: Number(port),
    forceTLS: false,
    enableStats: false,
    enabledTransports: [who.transport ?? 'ws'],
    channelAuthorization: { customHandler: authorize },
    userAuthentication: { customHandler: authenticate },
    ...options,
  });
  pusher.errors = [];
  pusher.connection.bind('error', (error) => pusher.errors.push(error.error ?? error));
  if (options.connects !== false) await connected(pusher);
  return pusher;
};

export const connected = (pusher) =>
  until('it is connected', () => pusher.connection.state === 'connected');

/** Subscribes, waits until that has succeeded, and keeps every event in `events` as `[name, data]`. */
export const subscribed = async (pusher, name) => {
  const channel = pusher.subscribe(name);
  channel.events ??= [];
  channel.bind_global((event, data) => channel.events.push([event, data]));
  await until(`${name} is subscribed`, () => channel.subscribed);
  return channel;
};

/** The events of a name that a channel has had. */
export const named = (channel, name) => channel.events.filter(([event]) => event === name);
