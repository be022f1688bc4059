import net from 'node:net';
import tls from 'node:tls';

import { certificate, TLS } from './tls.js';
import { within } from './until.js';

/**
 * Sends bytes as they are and gives everything that comes back until the server ends the connection, or until
 * `enough` says so.
 */
export function raw(port, bytes, enough = () => false) {
  const done = new Promise((resolve, reject) => {
    let text = '';
    const [host, write] = ['127.0.0.1', () => socket.write(bytes)];
    const socket = TLS
      ? tls.connect({ port, host, ca: certificate().ca }, write)
      : net.connect(port, host, write);
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => {
      text += chunk;
      if (enough(text)) socket.destroy();
    });
    // A server that refuses a request unread resets the connection; what it said before that still counts.
    socket.on('error', (error) => (text ? resolve(text) : reject(error)));
    socket.on('close', () => resolve(text));
  });
  return within('an answer to raw bytes', done);
}
