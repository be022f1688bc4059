/** How far a receiver has come in one channel. */
export interface Position {
  epoch: string;
  offset: number;
}

export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';
/** `iframe` is the forever frame, for networks that let nothing else through; it needs a page. */
export type Transport = 'sse' | 'poll' | 'ws' | 'iframe';

export interface EnckeOptions {
  /**
   * Where the server is, without a trailing path. Default: the server that the script came from, if it came
   * from one; else the page's own origin.
   */
  url?: string;
  /** The client's token. Without one the cookie that a login has set is used. */
  token?: string;
  /** Called for a token when there is none, before the one there is ends, and once after a 401. */
  getToken?: () => Promise<string | null | undefined> | string | null | undefined;
  /** The channels to follow besides the user's own. */
  channels?: readonly string[];
  /**
   * One transport, or several in the order in which to try them. Default: `auto`, which is
   * `['ws', 'sse', 'poll']`.
   */
  transport?: Transport | 'auto' | readonly Transport[];
  /** Where to go on: an earlier `cursor`, or `earliest` for the oldest that is kept. */
  cursor?: string;
  /**
   * Where to remember the cursor of each user, for example `sessionStorage`; nothing is remembered by
   * default.
   */
  storage?: Pick<Storage, 'getItem' | 'setItem'>;
  /**
   * Who the user is, where the token does not tell. It names what is remembered, and the tabs that share a
   * connection.
   */
  user?: string;
  /**
   * Whether tabs of the same user share one connection, where the browser can (Web Locks, which need a secure
   * page). Default: true. Without a token that tells the user, and without `user`, none is shared.
   */
  share?: boolean;
  /**
   * Whether this browser keeps the user's place in the own channel (`localStorage`), so that each device gets
   * each push once, whatever other devices got. Default: true.
   */
  device?: boolean;
  /**
   * How messages are written on the wire; they are told alike, but for the `id` of those of public channels.
   * Default: `short`.
   */
  form?: 'short' | 'long';
  /** How long a poll asks to be held, in seconds; the server's own time by default. */
  holdS?: number;
  /** As in `fetch`. Default: `omit` with a token, else `same-origin`. */
  credentials?: RequestCredentials;
}

interface MessageBase {
  /** In the user's own channel; of others the long form alone has it. */
  id?: string;
  channel: string;
  offset: number;
  epoch: string;
  /** RFC 3339, in UTC. */
  time: string;
  /** The user who published it, when a client did. */
  from?: string;
  /** The place in a trace (W3C Trace Context) that it belongs to, if it belongs to one. */
  traceparent?: string;
}

export interface DataMessage extends MessageBase {
  type: 'message';
  data: unknown;
}

export interface PageMessage extends MessageBase {
  type: 'page';
  /** An http or https address; the client hands over no other. */
  url: string;
  /** The page wants a window of its own, such as one that forbids frames. */
  show?: 'window';
}

export interface Gap {
  channel: string;
  /** The first offset that will not come. */
  from: number;
  /** The last offset that will not come; null when it is not known what was lost. */
  to: number | null;
  /** `trimmed`, `epoch` or `slow`, by the server; `cursor` when the server did not accept the cursor. */
  reason?: string;
}

export interface Unsubscribed {
  channel: string;
  /** `not_granted` */
  reason: string;
}

export interface Close {
  /** `client`, `operator`, `deleted`, `revoked`, `banned`, `session_closed`, or the code of the error that
   * ended it. */
  code: string;
  reason: string;
  /** Whether the client comes back by itself. */
  reconnect: boolean;
}

export interface Opened {
  session: string | null;
  cursor: string | null;
  transport: Transport;
}

export interface Status {
  state: State;
  /** When that began, in milliseconds of the epoch. */
  since: number;
  session: string | null;
  transport: Transport;
  user: string | null;
  /** When the next attempt is made, in milliseconds of the epoch, while `state` is `waiting`. */
  retryAt: number | null;
  /** Whether other tabs share the connection, and whether this one holds it. */
  shared: 'alone' | 'leads' | 'follows';
  /** The last error since the connection was open. */
  error: EnckeError | null;
}

/** A page of a channel's history, as `GET /v1/channels/C/history` answers it. */
export interface History {
  messages: Array<DataMessage | PageMessage>;
  [more: string]: unknown;
}

/** Who follows a channel, as `GET /v1/channels/C/presence` answers it. */
export interface Presence {
  [more: string]: unknown;
}

export interface HistoryQuery {
  cursor?: string;
  before?: string;
  limit?: number;
}

export interface PresenceQuery {
  limit?: number;
  after?: string;
}

export interface ListenerOptions {
  /** Takes the listener away. */
  signal?: AbortSignal;
  /** Whether it is told once only. */
  once?: boolean;
}

export interface Published {
  id: string;
  offset: number;
  epoch: string;
  mode: string;
}

export interface EnckeEvents {
  /** A message that is not a page. */
  message: (message: DataMessage) => void;
  /** A page to show. */
  page: (message: PageMessage) => void;
  /** Something was lost, and nothing will bring it back. */
  gap: (gap: Gap) => void;
  /** A channel is not followed any more, as the new token does not grant it. */
  unsubscribed: (told: Unsubscribed) => void;
  /** The token ends in so many seconds; with `getToken` a fresh one takes its place by itself. */
  expiring: (told: { in_s: number }) => void;
  state: (state: State, before: State) => void;
  open: (opened: Opened) => void;
  /** The session was ended on purpose, from either side, or an error ended it for good. */
  close: (close: Close) => void;
  error: (error: EnckeError) => void;
}

export class EnckeError extends Error {
  constructor(
    code: string,
    message: string,
    more?: { status?: number; retryAfterMs?: number; cause?: unknown },
  );
  /**
   * One of the protocol's codes, or of the client's own: `network`, `origin_refused`, `timeout`, `silent`,
   * `no_open`, `not_a_stream`, `bad_message`, `bad_url`, `slow`.
   */
  readonly code: string;
  /** The HTTP status, or 0. */
  readonly status: number;
  readonly retryAfterMs: number;
  /** Whether the same request may succeed a little later. */
  readonly transient: boolean;
  /** The address of the page that explains it. */
  readonly help: string;
}

/** An EventTarget: `addEventListener` gives events with the first value as their `detail`. */
export class Emitter<Events> extends EventTarget {
  /** Returns a function that takes the listener away again. */
  on<Type extends keyof Events>(type: Type, listener: Events[Type], options?: ListenerOptions): () => void;
  once<Type extends keyof Events>(type: Type, listener: Events[Type], options?: ListenerOptions): () => void;
  off<Type extends keyof Events>(type: Type, listener: Events[Type]): void;
}

/** One channel, with listeners of its own. */
export class Channel extends Emitter<Pick<EnckeEvents, 'message' | 'page' | 'gap' | 'unsubscribed'>> {
  readonly name: string;
  subscribe(): Promise<string[]>;
  unsubscribe(): Promise<string[]>;
  publish(data: unknown, options?: { id?: string }): Promise<Published>;
  history(query?: HistoryQuery): Promise<History>;
  presence(query?: PresenceQuery): Promise<Presence>;
  messages(options?: { signal?: AbortSignal }): AsyncGenerator<DataMessage | PageMessage, void>;
}

export class Encke extends Emitter<EnckeEvents> {
  constructor(options?: EnckeOptions);
  readonly state: State;
  readonly session: string | null;
  readonly cursor: string | null;
  readonly transport: Transport;
  readonly channels: string[];
  readonly user: string | null;

  /** All that a page may show of the connection, as of now. */
  readonly status: Status;

  /** Connects, and stays connected until `close()`, or until the server ends the session for good. */
  connect(): void;
  /** Comes back on purpose: after a close, or to replace a connection at once. */
  reconnect(): void;
  /**
   * Ends the session on purpose. True when the server says that everything of the session is freed, or when
   * other tabs go on with it.
   */
  close(reason?: string): Promise<boolean>;
  subscribe(channels: readonly string[]): Promise<string[]>;
  unsubscribe(channels: readonly string[]): Promise<string[]>;
  /** The same object each time; the channel is subscribed if it was not. */
  channel(name: string): Channel;
  /**
   * The messages and pages of a channel, or all that come, until the client is closed for good or the signal
   * ends it. It fails when the loop is so slow that 1,000 wait.
   */
  messages(
    channel?: string,
    options?: { signal?: AbortSignal },
  ): AsyncGenerator<DataMessage | PageMessage, void>;
  history(channel: string, query?: HistoryQuery): Promise<History>;
  presence(channel: string, query?: PresenceQuery): Promise<Presence>;
  /** Publishes once, however often the request has to be repeated. */
  publish(channel: string, data: unknown, options?: { id?: string }): Promise<Published>;
  /** Everything handed over so far was shown to the person. */
  ack(): Promise<void>;
  /** This message, and what came before it, was shown to the person. */
  shown(message: Pick<MessageBase, 'channel' | 'offset' | 'epoch'>): Promise<void>;
}

/** The normal form of an absolute http or https address; null for everything else. */
export function safeUrl(url: unknown): string | null;

/**
 * Shows a page in a sandboxed frame; resolves when it has loaded, with null when another page took its place
 * before that. With `client`, the page is acknowledged as shown when it says so itself, by
 * `parent.postMessage({ encke: 'shown' }, '*')`, or with `shown: 'loaded'` when its frame has loaded. `link`
 * is the text of a link to the page, for those that forbid frames.
 */
export function showPage(
  container: HTMLElement,
  message: Pick<PageMessage, 'url'> & Partial<PageMessage>,
  options?: {
    client?: Encke;
    shown?: 'told' | 'loaded';
    link?: string;
    sandbox?: string;
    title?: string;
  },
): Promise<HTMLIFrameElement | null>;

export function parseCursor(
  text: string,
): { epoch: string; positions: Map<string, Position>; closed: boolean } | null;
export function formatCursor(positions: Iterable<[string, Position]>, leading?: string): string | null;

export class SseParser {
  constructor(onEvent: (event: { event: string; data: string; lastEventId: string }) => void);
  readonly lastEventId: string;
  /** Text, or bytes that may be cut anywhere. */
  push(chunk: string | Uint8Array): void;
}

export function pauseMs(failures: number, random: () => number): number;
