/** Encke in Svelte: stores of what a page shows of a client. */
import { readable } from 'svelte/store';

/** How many messages a store keeps, unless it is told otherwise. */
const KEPT = 100;

/**
 * The client's state, as `client.status.state` tells it.
 * @param {import('../encke.js').Encke} client
 */
export const enckeState = (client) =>
  readable(client.state, (set) => {
    set(client.state);
    return client.on('state', (now) => set(now));
  });

/**
 * The last messages of a channel, the newest last.
 * @param {import('../encke.js').Encke} client @param {string} channel @param {number} [kept]
 */
export const messages = (client, channel, kept = KEPT) =>
  readable([], (_, update) =>
    client.channel(channel).on('message', (message) => update((all) => [...all, message].slice(-kept))),
  );
