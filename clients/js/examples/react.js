/** Encke in React: what a component shows of a client, which lives outside of components. */
import { useCallback, useMemo, useSyncExternalStore } from 'react';

/** How many messages a component keeps, unless it says so. */
const KEPT = 100;

/**
 * The client's state, as `client.status.state` tells it.
 * @param {import('../encke.js').Encke} client
 */
export function useEnckeState(client) {
  const subscribe = useCallback((changed) => client.on('state', changed), [client]);
  const state = () => client.state;
  return useSyncExternalStore(subscribe, state, state);
}

/**
 * The last messages of a channel, the newest last.
 * @param {import('../encke.js').Encke} client @param {string} channel @param {number} [kept]
 */
export function useMessages(client, channel, kept = KEPT) {
  const store = useMemo(() => {
    let messages = [];
    return {
      subscribe: (changed) =>
        client.channel(channel).on('message', (message) => {
          messages = [...messages, message].slice(-kept);
          changed();
        }),
      messages: () => messages,
    };
  }, [client, channel, kept]);
  return useSyncExternalStore(store.subscribe, store.messages, store.messages);
}
