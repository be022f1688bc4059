// The types of the library of Encke for backends.
import type { AgentOptions } from 'node:https';

/** Users, all that the server knows, or those who are online. */
export type Target = readonly string[] | 'all' | 'online';

/** What can be sent as JSON. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json | undefined };

interface PushOptions {
  to: Target;
  /** It is not delivered after so many seconds. */
  ttlS?: number;
  /** The idempotency key, up to 128 bytes: the same push under the same key is accepted once. */
  id?: string;
}

/** A push: data or a page for some users. */
export type Push = PushOptions & (
  | { data: Json; url?: undefined; show?: undefined }
  /** `show` is what the page is shown in: a frame of the receiver's page, unless it says `window`. */
  | { url: string; data?: undefined; show?: 'frame' | 'window' }
);

/** A message for a channel. */
export interface Message {
  channel: string;
  data: Json;
  /** The idempotency key, up to 128 bytes. */
  id?: string;
}

/** A push that was accepted. */
export interface Pushed {
  id: string;
  /** What keeps it. */
  mode: 'memory' | 'log' | 'redis' | 'nats';
  /** For how many users. */
  accepted: number;
  /** Who of them was online and offline then; 10,000 of each at most. */
  online: string[];
  offline: string[];
  truncated?: boolean;
}

/** One of several pushes that was accepted; users are counted and not named. */
export interface Accepted {
  id: string;
  accepted: number;
  online: number;
  offline: number;
}

/** A message that was accepted, and its place in its channel. */
export interface Published {
  id: string;
  offset: number;
  epoch: string;
}

/** What became of a push with one user. */
export interface Receipt {
  user: string;
  state: 'queued' | 'delivered' | 'shown' | 'expired' | 'cancelled';
  /** RFC 3339, in UTC. */
  time: string;
}

/** A user that the server knows. */
export interface User {
  id: string;
  online: boolean;
  sessions: number;
  first_seen: string | null;
  last_seen: string | null;
}

export interface CallOptions {
  /** Ends the call, which then fails with the signal's reason. */
  signal?: AbortSignal;
}

export interface StreamOptions extends CallOptions {
  /** How many requests may be without a result; 64 if it is not said. */
  window?: number;
}

export interface ClientOptions {
  /** How long an answer may take, in milliseconds; 10,000 if it is not said. */
  timeoutMs?: number;
  /** How often a request is repeated that does no harm when it comes twice; 2 if it is not said. */
  retries?: number;
  /** Options of TLS, such as `ca`. */
  tls?: AgentOptions;
}

/** Where a stream's requests come from. */
type Source<T> = AsyncIterable<T> | Iterable<T>;

/** The server API of one Encke server. One client is enough for a process. */
export class Client {
  constructor(url: string, apiKey: string, options?: ClientOptions);
  /** Pushes data or a page to users, who get it at once or at their next login. */
  push(push: Push, options?: CallOptions): Promise<Pushed>;
  /** Up to 1,000 pushes in one request. An error is the result of its push alone, and is not thrown. */
  pushMany(pushes: readonly Push[], options?: CallOptions): Promise<(Accepted | ApiError)[]>;
  /**
   * Any number of pushes over one connection; the results are in their order, and each comes at once. It is
   * not repeated. When it fails, pushes without a result may have been accepted or not: with an `id` of
   * theirs they can be sent again.
   */
  pushStream(pushes: Source<Push>, options?: StreamOptions): AsyncGenerator<Accepted | ApiError>;
  /** Publishes data to all who follow a channel. */
  publish(message: Message, options?: CallOptions): Promise<Published>;
  /** Up to 128 messages in one request. */
  publishMany(messages: readonly Message[], options?: CallOptions): Promise<(Published | ApiError)[]>;
  /** As `pushStream`. */
  publishStream(messages: Source<Message>, options?: StreamOptions): AsyncGenerator<Published | ApiError>;
  /** What became of a push, with each of its users. */
  receipts(id: string, options?: CallOptions): AsyncGenerator<Receipt>;
  /** Calls a push back where it is still queued; gives for how many users. */
  cancel(id: string, options?: CallOptions): Promise<number>;
  /** Whether a user is online, and since when the server knows the user. */
  user(id: string, options?: CallOptions): Promise<User>;
  /** Ends the sessions of a user, or one session; gives how many. It is not repeated by itself. */
  close(
    of: ({ user: string; session?: undefined } | { session: string; user?: undefined }) & {
      reason?: string;
      reconnect?: boolean;
      /** Keeps the user away for so many seconds. */
      banS?: number;
    },
    options?: CallOptions,
  ): Promise<number>;
  /**
   * Takes tokens back: of a user, by id, or all that were issued before; gives how many sessions ended. For a
   * user `before` is now, by this machine's clock, if it is not said.
   */
  revoke(of: { user?: string; jti?: string; before?: Date | string }, options?: CallOptions): Promise<number>;
  /** Any other request of the server API; gives the JSON of its answer. A POST is not repeated. */
  request(method: string, path: string, body?: unknown, options?: CallOptions): Promise<any>;
  /** Ends the connections that rest. */
  shut(): void;
}

/** The base of all errors of this library. */
export class EnckeError extends Error {
  readonly code: string;
}

/** The server refused a request; `code` is one of the table in docs/PROTOCOL.md, or `unexpected_answer`. */
export class ApiError extends EnckeError {
  /** The HTTP status; 0 for one of several requests in a call, which has none of its own. */
  readonly status: number;
  /** In how many seconds to come again, if the server says so. */
  readonly retryAfterS: number | undefined;
}

/** There was no answer (`code` is `no_answer`). Whether the request was carried out is not known. */
export class TransportError extends EnckeError {}

/** A request is not a hook of the server, or an old one (`code` is `invalid_webhook`). */
export class InvalidWebhook extends EnckeError {}

export interface TokenOptions {
  /** For how many seconds it is good; 3,600 if it is not said. */
  ttlS?: number;
  /** Patterns of what the user may follow; `*` stands for any run of characters. */
  channels?: readonly string[];
  /** Patterns of what the user may publish to. */
  publish?: readonly string[];
  /** Further claims: `iss` and `aud` where the server asks for them, `jti` by which it can be revoked. */
  claims?: Readonly<Record<string, unknown>>;
}

/** A token for this user, signed with HS256 by the server's `auth.token_secret`. */
export function signToken(secret: string, user: string, options?: TokenOptions): string;

/** As Node has them, or `Headers`. */
type Fields =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | { entries(): Iterable<[string, string]> };

export interface VerifyOptions {
  /** How old the time of a request may be, in seconds; 300 if it is not said. */
  toleranceS?: number;
  /** Milliseconds since 1970, for tests. */
  now?: number;
}

/**
 * The JSON of a hook, if it is signed with one of these secrets (`whsec_…`) and not old. `body` is what came,
 * byte by byte. Throws {@link InvalidWebhook}.
 */
export function verifyWebhook(
  headers: Fields,
  body: Uint8Array | string,
  secrets: string | readonly string[],
  options?: VerifyOptions,
): Record<string, any>;

/** The signature of a request, for tests of an endpoint. */
export function signWebhook(secret: string, id: string, atS: number, body: Uint8Array | string): string;
