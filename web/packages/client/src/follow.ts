/**
 * Following one run: a stream of events that survives the connections it comes over.
 *
 * `follow` reads `GET …/events`, reconnects with back-off, resumes from the last event id, and
 * hands each event on exactly once, in order. It returns after `run-end` (or a 204: everything was
 * already read, or after `signal` fires) and throws `HeadraceError` when trying again cannot help.
 * What the events mean is in `fold.ts`; what is kept of them, in `run-view.ts`.
 */

import { HeadraceError, errorFrom } from "./errors.ts";
import { parseEvent, type WireEvent } from "./events.ts";
import { sseParser } from "./sse.ts";

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** How the connection stands; a page shows `retrying` as "reconnecting…". */
export type Connection = "connecting" | "open" | "retrying" | "closed";

export interface FollowOptions {
  /** A cursor (`<run>.<seq>`) to start after; without it, from the first event. */
  readonly after?: string;
  readonly signal?: AbortSignal;
  readonly fetch?: Fetch;
  readonly headers?: Readonly<Record<string, string>>;
  /** Reconnect when not even a heartbeat came for this long. Default 40,000 ms. */
  readonly silenceMs?: number;
  /** The first wait before a reconnect; it doubles up to `retry:`, or 2,000 ms. Default 100 ms. */
  readonly backoffMs?: number;
  /** A number in [0, 1) for the jitter. Default `Math.random`. */
  readonly random?: () => number;
  readonly onConnection?: (connection: Connection, cause?: unknown) => void;
}

const MAX_BACKOFF_MS = 2_000;
const MAX_WAIT_MS = 30_000;
/** How often in a row the same hole may be met before it is an error and not an accident. */
const MAX_GAPS = 3;

export async function* follow(url: string, options: FollowOptions = {}): AsyncGenerator<WireEvent, void, void> {
  const { signal, random = Math.random, backoffMs = 100, silenceMs = 40_000 } = options;
  const tell = options.onConnection ?? (() => {});
  const request = options.fetch ?? ((input: string, init?: RequestInit) => globalThis.fetch(input, init));
  let cursor = options.after ?? "";
  let seq = seqOf(cursor);
  let failures = 0;
  let gaps = 0;
  let ceiling = MAX_BACKOFF_MS;

  while (!signal?.aborted) {
    if (failures === 0) tell("connecting");
    const connection = new AbortController();
    const forward = () => connection.abort(signal?.reason);
    signal?.addEventListener("abort", forward, { once: true });
    let cause: unknown;
    let asked = 0;
    try {
      const silence = watchdog(silenceMs, () => connection.abort(new Error(`no bytes for ${silenceMs} ms`)));
      try {
        const response = await request(url, {
          headers: {
            accept: "text/event-stream",
            ...options.headers,
            ...(cursor === "" ? {} : { "last-event-id": cursor }),
          },
          cache: "no-store",
          signal: connection.signal,
        });
        if (response.status === 204) return;
        if (!response.ok) {
          const error = await errorFrom(response);
          if (!passing(response.status)) throw error;
          asked = Number(response.headers.get("retry-after") ?? 0) * 1_000;
          throw new Broken(error);
        }
        if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream") || response.body === null) {
          throw new HeadraceError("bad-response", "the answer to a request for events is not an event stream", {
            status: response.status,
          });
        }
        tell("open");
        const parser = sseParser();
        for await (const bytes of chunks(response.body, connection.signal)) {
          silence.touch();
          for (const frame of parser.feed(bytes)) {
            const event = read(frame.data);
            const from = event.from ?? event.seq;
            if (event.seq > seq) {
              if (from <= seq) {
                throw new HeadraceError("cursor-overlap", `events ${from} to ${event.seq} were merged across ${seq}`);
              }
              if (from > seq + 1) {
                gaps += 1;
                const hole = `events ${seq + 1} to ${from - 1} are missing`;
                if (gaps >= MAX_GAPS) throw new HeadraceError("stream-incomplete", hole);
                throw new Broken(new Error(hole));
              }
              seq = event.seq;
              cursor = frame.id || cursor;
              failures = 0;
              gaps = 0;
              // The page may be busy for longer than the silence we allow the server.
              silence.pause();
              yield event;
              silence.touch();
            }
            if (event.type === "run-end") return;
          }
          if (parser.retry !== undefined) ceiling = Math.min(Math.max(parser.retry, backoffMs), MAX_WAIT_MS);
        }
      } finally {
        silence.pause();
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof HeadraceError) throw error;
      cause = error instanceof Broken ? error.cause : error;
    } finally {
      signal?.removeEventListener("abort", forward);
      connection.abort();
    }
    const wait = Math.min(ceiling, backoffMs * 2 ** failures) * (0.5 + random() / 2);
    failures += 1;
    tell("retrying", cause);
    await sleep(Math.min(Math.max(wait, asked || 0), MAX_WAIT_MS), signal);
  }
}

/** The connection is lost, but another one may do. */
class Broken extends Error {
  constructor(cause: unknown) {
    super("the connection broke", { cause });
  }
}

function read(data: string): WireEvent {
  try {
    return parseEvent(data);
  } catch (cause) {
    throw new HeadraceError("bad-response", `the server sent something that is not an event: ${data.slice(0, 80)}`, {
      cause,
    });
  }
}

/** Statuses of a server that is starting, overloaded or behind a proxy that cannot reach it. */
function passing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

function seqOf(cursor: string): number {
  return Number(/(\d+)$/.exec(cursor)?.[1] ?? 0);
}

async function* chunks(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
  const reader = body.getReader();
  // A stream that does not know our signal (a test's, a polyfill's) must still end with it.
  const abort = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", abort, { once: true });
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (signal.aborted) throw signal.reason;
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", abort);
    await reader.cancel().catch(() => {});
  }
}

function watchdog(ms: number, bark: () => void): { touch(): void; pause(): void } {
  let timer = setTimeout(bark, ms);
  return {
    touch() {
      clearTimeout(timer);
      timer = setTimeout(bark, ms);
    },
    pause() {
      clearTimeout(timer);
    },
  };
}

/** Waits, but not past `signal`, and not past the moment the browser is online again. */
function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const target = typeof globalThis.addEventListener === "function" ? globalThis : undefined;
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      target?.removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
    target?.addEventListener("online", done, { once: true });
  });
}
