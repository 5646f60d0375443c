/**
 * How a page reaches runs: start one, follow one, and cancel; the rest is optional.
 *
 * `Transport` is all that the stores know, so a test or another backend can stand in for HTTP.
 * `HttpTransport` speaks the routes of the contract. State is kept in `run-view.ts` and
 * `chat-store.ts`, never here.
 */

import { HeadraceError, errorFrom } from "./errors.ts";
import type { RunInfo, WireEvent } from "./events.ts";
import { follow, type Connection, type Fetch } from "./follow.ts";

export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
}

/** The body of `POST /v1/runs`. */
export interface StartBody {
  readonly model?: string;
  readonly messages?: readonly Message[];
  readonly input?: string;
  readonly conversation?: string;
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly fallbacks?: readonly string[];
  /** What the run does when nobody reads it. The server's default is `grace`. */
  readonly on_disconnect?: "grace" | "continue" | "cancel";
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

export interface Started {
  readonly run: string;
  readonly status?: string;
  readonly events?: string;
}

export interface Transport {
  /** Starts a run. The same `key` again gives the same run, so a lost answer can be asked for anew. */
  start(body: StartBody, options: { readonly key: string; readonly signal?: AbortSignal }): Promise<Started>;
  /** Every event of a run, each once, from the first. */
  follow(
    run: string,
    options: {
      readonly after?: string;
      readonly signal?: AbortSignal;
      readonly onConnection?: (connection: Connection) => void;
    },
  ): AsyncIterable<WireEvent>;
  /** Stops a run. Stopping one that has ended changes nothing. */
  cancel(run: string): Promise<RunInfo>;
  /** What is known of a run whose events are gone. */
  get?(run: string): Promise<RunInfo>;
  /** Answers a question a run has for a person. */
  respond?(run: string, request: string, value: unknown): Promise<void>;
}

export interface HttpTransportOptions {
  /** Where the server is; default: where the page came from. */
  readonly base?: string;
  /** The API key at this moment, if there is one. */
  readonly key?: () => string | undefined;
  readonly fetch?: Fetch;
  /** The waits between tries of a POST that got no answer. Default 300 and 1,000 ms. */
  readonly retryMs?: readonly number[];
}

export class HttpTransport implements Transport {
  readonly #base: string;
  readonly #key: () => string | undefined;
  readonly #fetch: Fetch;
  readonly #retryMs: readonly number[];

  constructor(options: HttpTransportOptions = {}) {
    this.#base = (options.base ?? "").replace(/\/$/, "");
    this.#key = options.key ?? (() => undefined);
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#retryMs = options.retryMs ?? [300, 1_000];
  }

  async start(body: StartBody, options: { readonly key: string; readonly signal?: AbortSignal }): Promise<Started> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.json<Started>("/v1/runs", {
          method: "POST",
          headers: { "idempotency-key": options.key },
          body: JSON.stringify(body),
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        });
      } catch (error) {
        const wait = this.#retryMs[attempt];
        const again = error instanceof HeadraceError && error.code === "network";
        if (!again || wait === undefined || options.signal?.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  follow(
    run: string,
    options: {
      readonly after?: string;
      readonly signal?: AbortSignal;
      readonly onConnection?: (connection: Connection) => void;
    } = {},
  ): AsyncIterable<WireEvent> {
    return follow(this.eventsUrl(run), { ...options, fetch: this.#fetch, headers: this.#headers() });
  }

  cancel(run: string): Promise<RunInfo> {
    return this.json(`${this.#run(run)}/cancel`, { method: "POST" });
  }

  get(run: string): Promise<RunInfo> {
    return this.json(this.#run(run));
  }

  async respond(run: string, request: string, value: unknown): Promise<void> {
    await this.json(`${this.#run(run)}/responses/${encodeURIComponent(request)}`, {
      method: "POST",
      body: JSON.stringify({ value }),
    });
  }

  /** The names of the models the server can reach: its default first, then in its order. */
  async models(): Promise<readonly string[]> {
    const list = await this.json<{ data?: readonly { id?: unknown }[]; default?: unknown }>("/v1/models");
    const names = (list.data ?? []).map((model) => model.id).filter((id): id is string => typeof id === "string");
    const first = list.default;
    return typeof first === "string" ? [first, ...names.filter((name) => name !== first)] : names;
  }

  eventsUrl(run: string): string {
    return `${this.#base}${this.#run(run)}/events`;
  }

  #run(run: string): string {
    return `/v1/runs/${encodeURIComponent(run)}`;
  }

  #headers(): Record<string, string> {
    const key = this.#key();
    return key === undefined || key === "" ? {} : { authorization: `Bearer ${key}` };
  }

  /** Any JSON route of the server: with the key, and with the server's own error thrown when it refuses. */
  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    let response: Response;
    try {
      response = await this.#fetch(this.#base + path, {
        ...init,
        headers: {
          accept: "application/json",
          ...(init.body === undefined ? {} : { "content-type": "application/json" }),
          ...this.#headers(),
          ...(init.headers as Record<string, string> | undefined),
        },
      });
    } catch (cause) {
      if (init.signal?.aborted) throw cause;
      throw new HeadraceError("network", "the server cannot be reached", { cause });
    }
    if (!response.ok) throw await errorFrom(response);
    if (response.status === 204) return undefined as T;
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw new HeadraceError("bad-response", `the answer to ${path} is not JSON`, { status: response.status, cause });
    }
  }
}
