/** How far a receiver has come in one channel. */
export interface Position {
  epoch: string;
  offset: number;
}

export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';
/** `iframe` is the forever frame, for networks that let nothing else through; it needs a page. */
export type Transport = 'sse' | 'poll' | 'ws' | 'iframe';

export interface EnckeOptions {
  /** Where the server is, without a trailing path; the page's own origin by default. */
  url?: string;
  /** The client's token. Without one the cookie that a login has set is used. */
  token?: string;
  /** Called for a token when there is none, and once for a fresh one after a 401. */
  getToken?: () => Promise<string | null | undefined> | string | null | undefined;
  /** The channels to follow besides the user's own. */
  channels?: readonly string[];
  /**
   * One transport, or several in the order in which to try them; `auto` is `['ws', 'sse', 'poll']`. Default:
   * `['sse', 'poll']`.
   */
  transport?: Transport | 'auto' | readonly Transport[];
  /** Where to go on: an earlier `cursor`, or `earliest` for the oldest that is kept. */
  cursor?: string;
  /**
   * Where to remember the cursor of each user, for example `sessionStorage`; nothing is remembered by
   * default.
   */
  storage?: Pick<Storage, 'getItem' | 'setItem'>;
  /** Who the user is, where the token does not tell. Only used for naming what is remembered. */
  user?: string;
  /** How long a poll asks to be held, in seconds; the server's own time by default. */
  holdS?: number;
  /** As in `fetch`. Default: `omit` with a token, else `same-origin`. */
  credentials?: RequestCredentials;
}

interface MessageBase {
  id: string;
  channel: string;
  offset: number;
  epoch: string;
  /** RFC 3339, in UTC. */
  time: string;
  /** The user who published it, when a client did. */
  from?: string;
}

export interface DataMessage extends MessageBase {
  type: 'message';
  data: unknown;
}

export interface PageMessage extends MessageBase {
  type: 'page';
  /** An http or https address; the client hands over no other. */
  url: string;
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
   * One of the protocol's codes, or of the client's own: `network`, `timeout`, `silent`, `no_open`,
   * `not_a_stream`, `bad_message`, `bad_url`.
   */
  readonly code: string;
  /** The HTTP status, or 0. */
  readonly status: number;
  readonly retryAfterMs: number;
  /** Whether the same request may succeed a little later. */
  readonly transient: boolean;
}

export class Encke {
  constructor(options?: EnckeOptions);
  readonly state: State;
  readonly session: string | null;
  readonly cursor: string | null;
  readonly transport: Transport;
  readonly channels: string[];
  readonly user: string | null;

  /** Returns a function that takes the listener away again. */
  on<Type extends keyof EnckeEvents>(type: Type, listener: EnckeEvents[Type]): () => void;
  /** Connects, and stays connected until `close()`, or until the server ends the session for good. */
  connect(): void;
  /** Comes back on purpose: after a close, or to replace a connection at once. */
  reconnect(): void;
  /** Ends the session on purpose. True when the server says that everything of the session is freed. */
  close(reason?: string): Promise<boolean>;
  subscribe(channels: readonly string[]): Promise<string[]>;
  unsubscribe(channels: readonly string[]): Promise<string[]>;
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
 * before that.
 */
export function showPage(
  container: HTMLElement,
  message: Pick<PageMessage, 'url'> & Partial<PageMessage>,
  options?: { client?: Encke; sandbox?: string; title?: string },
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
