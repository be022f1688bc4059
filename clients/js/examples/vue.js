/** Encke in Vue: what a component shows of a client, which lives outside of components. */
import { onScopeDispose, ref, shallowRef } from 'vue';

/** How many messages a component keeps, unless it says so. */
const KEPT = 100;

/**
 * The client's state, as `client.status.state` tells it.
 * @param {import('../encke.js').Encke} client
 */
export function useEnckeState(client) {
  const state = ref(client.state);
  onScopeDispose(client.on('state', (now) => (state.value = now)));
  return state;
}

/**
 * The last messages of a channel, the newest last.
 * @param {import('../encke.js').Encke} client @param {string} channel @param {number} [kept]
 */
export function useMessages(client, channel, kept = KEPT) {
  const messages = shallowRef([]);
  onScopeDispose(
    client.channel(channel).on('message', (message) => {
      messages.value = [...messages.value, message].slice(-kept);
    }),
  );
  return messages;
}
