// What the tests share: where the server is, and a user of it.
import { randomUUID } from 'node:crypto';

import { Client, signToken } from 'encke-backend';

export const {
  ENCKE_URL: URL,
  ENCKE_API_KEY: API_KEY,
  ENCKE_TOKEN_SECRET: SECRET,
  ENCKE_FAULTY_URL: FAULTY_URL,
} = process.env;
const WITHIN_MS = 20_000;

/** A name that no other test has. */
export const name = (prefix = 'user') => `${prefix}-${randomUUID()}`;

export const client = (options) => new Client(URL, API_KEY, options);
export const faulty = (fault, of, options) => new Client(`${FAULTY_URL}/${fault}/${of}`, API_KEY, options);

const get = (address, headers = {}) => fetch(address, { headers, signal: AbortSignal.timeout(WITHIN_MS) });

/** How many requests came to this name at the faulty front. */
export const requestsTo = async (of) => Number(await (await get(`${FAULTY_URL}/count/${of}/`)).text());

/** The JSON of the requests that came to this name at the faulty front. */
export const bodiesTo = async (of) =>
  (await (await get(`${FAULTY_URL}/bodies/${of}/`)).json()).map((body) => JSON.parse(body));

/** A user who polls. */
export class Viewer {
  #at = { cursor: 'earliest' };

  constructor(options, user = name()) {
    this.user = user;
    this.token = signToken(SECRET, user, options);
  }

  /** What a poll is answered. */
  async ask(query = {}) {
    const address = `${URL}/v1/poll?${new URLSearchParams({ hold_s: 0, ...this.#at, ...query })}`;
    const answer = await get(address, { authorization: `Bearer ${this.token}` });
    return { status: answer.status, ...(await answer.json()) };
  }

  async poll(query) {
    const answer = await this.ask(query);
    if (answer.status !== 200) throw new Error(JSON.stringify(answer));
    this.#at = { cursor: answer.cursor, session: answer.session };
    return answer;
  }

  /** The data of so many messages, and of those that came too many. */
  async data(count) {
    const found = [];
    for (;;) {
      const { messages } = await this.poll({ hold_s: found.length < count ? 5 : 0 });
      if (messages.length === 0) return found;
      found.push(...messages.map((message) => message.data));
    }
  }
}
