/** Tickets: where a browser lets a page send no header, a ticket in the address says who it is. */
import { parseJson } from './link.js';

const TICKET_WITHIN_MS = 10000;

/**
 * Gets a ticket, and gives the address to connect to with it. Since the server has answered this, whatever
 * fails afterwards is the transport's own: the server is there, and takes the token or the cookie.
 * @param {import('./link.js').Link} link
 * @param {string} path
 * @param {Record<string, string>} [query]
 * @returns {Promise<URL>}
 */
export async function withTicket(link, path, query = {}) {
  const { ticket } = await link.within(TICKET_WITHIN_MS, async () =>
    parseJson(await (await link.host.request('POST', '/v1/ticket', undefined, link.signal)).text()));
  return link.host.address(link.host.path(path, { ...query, ticket: String(ticket) }));
}
