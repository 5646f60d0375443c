/**
 * One run, followed and folded, for any number of subscribers.
 *
 * Events are folded as they come; subscribers are told at most once a frame. A view attaches from
 * the first event, so that a page that was reloaded shows everything. When the events are past
 * retention the view falls back to what `GET /v1/runs/{run}` still knows.
 */

import { HeadraceError } from "./errors.ts";
import { emptyRun, fold, fromInfo, type RunState } from "./fold.ts";
import type { Connection } from "./follow.ts";
import type { Transport } from "./transport.ts";

export interface RunSnapshot {
  readonly state: RunState;
  readonly connection: Connection;
  /** Why following stopped before the run's end. */
  readonly error?: HeadraceError;
}

/** Runs `task` soon; several calls before that are the caller's to merge. */
export type Schedule = (task: () => void) => void;

/** With the next animation frame; a hidden page, which has no frames, gets four turns a second. */
export const everyFrame: Schedule = (task) => {
  const visible = typeof document !== "undefined" && document.visibilityState === "visible";
  if (visible && typeof requestAnimationFrame === "function") requestAnimationFrame(task);
  else setTimeout(task, 250);
};

export class RunView {
  readonly run: string;
  readonly #transport: Transport;
  readonly #schedule: Schedule;
  readonly #listeners = new Set<() => void>();
  readonly #onEnd: (state: RunState) => void;
  readonly #onFail: (error: HeadraceError) => void;
  #state: RunState;
  #connection: Connection = "connecting";
  #error: HeadraceError | undefined;
  #snapshot: RunSnapshot;
  #scheduled = false;
  #stop: AbortController | undefined;

  constructor(
    run: string,
    transport: Transport,
    options: {
      readonly schedule?: Schedule;
      readonly onEnd?: (state: RunState) => void;
      readonly onFail?: (error: HeadraceError) => void;
    } = {},
  ) {
    this.run = run;
    this.#transport = transport;
    this.#schedule = options.schedule ?? everyFrame;
    this.#onEnd = options.onEnd ?? (() => {});
    this.#onFail = options.onFail ?? (() => {});
    this.#state = emptyRun(run);
    this.#snapshot = { state: this.#state, connection: this.#connection };
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly getSnapshot = (): RunSnapshot => this.#snapshot;

  /** Starts following, unless it already does or the run has ended. Resolves when following stops. */
  async attach(): Promise<void> {
    if (this.#stop !== undefined || this.#state.ended) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#error = undefined;
    try {
      await this.#read(stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) await this.#failed(asHeadrace(error));
    } finally {
      if (this.#stop === stop) this.#stop = undefined;
      this.#connection = "closed";
      this.#flush();
    }
    if (this.#state.ended) this.#onEnd(this.#state);
    else if (this.#error !== undefined) this.#onFail(this.#error);
  }

  detach(): void {
    this.#stop?.abort();
    this.#stop = undefined;
  }

  async #read(signal: AbortSignal): Promise<void> {
    // A view that comes back after an error reads again from the start: dropping what it knows
    // already is the fold's work, and a merged log can then never fall across its cursor.
    const onConnection = (connection: Connection) => {
      this.#connection = connection;
      this.#changed();
    };
    for (let again = true; again;) {
      again = false;
      let state = emptyRun(this.run);
      try {
        for await (const event of this.#transport.follow(this.run, { signal, onConnection })) {
          state = fold(state, event);
          if (state.seq < this.#state.seq) continue;
          this.#state = state;
          this.#changed();
        }
      } catch (error) {
        if (!(error instanceof HeadraceError) || error.code !== "cursor-overlap") throw error;
        again = true;
      }
    }
    // The stream said "nothing more" and we have no end: ask for it.
    if (!this.#state.ended && !signal.aborted) await this.#ask();
  }

  async #failed(error: HeadraceError): Promise<void> {
    const gone = error.code === "run-not-found" || error.code === "retention-passed";
    if (gone && (await this.#ask().catch(() => false))) return;
    this.#error = error;
  }

  async #ask(): Promise<boolean> {
    const info = await this.#transport.get?.(this.run);
    if (info?.status !== "ended") return false;
    const known = fromInfo(info);
    // A run that broke off has no text on the server: nothing partial is kept there. What was
    // shown to the person stays with them.
    const shown = this.#state.blocks.map((block) => ({ ...block, done: true }));
    this.#state = known.blocks.length > 0 ? known : { ...known, blocks: shown };
    return true;
  }

  #changed(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => {
      if (this.#scheduled) this.#flush();
    });
  }

  #flush(): void {
    this.#scheduled = false;
    this.#snapshot = {
      state: this.#state,
      connection: this.#connection,
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
    for (const listener of this.#listeners) listener();
  }
}

function asHeadrace(error: unknown): HeadraceError {
  if (error instanceof HeadraceError) return error;
  return new HeadraceError("bad-response", error instanceof Error ? error.message : String(error), { cause: error });
}
