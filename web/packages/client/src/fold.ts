/**
 * The state of a run as a page shows it: `fold(state, event)` is a pure function.
 *
 * Three rules live here and nowhere else.
 * 1. An event at or below the last `seq` is dropped, so replays and reconnects change nothing.
 * 2. What an event does not touch keeps its identity: a page re-renders only the block that grew.
 * 3. Text grows by `+`. JavaScript engines keep such strings as ropes, so a thousand appends cost
 *    their own length and not the length of the answer each time.
 *
 * No clock and no I/O: times come from the events. Next: `follow.ts`, which brings the events.
 */

import type {
  Custom,
  FinishReason,
  Outcome,
  RunEnd,
  RunErrorInfo,
  RunEvent,
  RunInfo,
  RunResult,
  Usage,
  WireEvent,
} from "./events.ts";

export interface Block {
  readonly kind: "text" | "reasoning" | "tool-call";
  readonly id: string;
  readonly span?: string;
  /** The text so far; for a tool call, the JSON text of its arguments. */
  readonly text: string;
  readonly done: boolean;
  /** Server times, in ms since the epoch. */
  readonly started?: number;
  readonly ended?: number;
  /** Set when what was shown was taken back, with the reason. */
  readonly retracted?: string;
  readonly tool?: ToolCall;
}

export interface ToolCall {
  readonly call: string;
  readonly name: string;
  /** The parsed arguments, once complete. */
  readonly arguments?: unknown;
  readonly result?: {
    readonly value?: unknown;
    readonly error?: unknown;
    readonly elapsed_ms?: number;
    readonly preliminary?: boolean;
  };
}

export interface Field {
  readonly path: string;
  readonly span?: string;
  readonly text: string;
  readonly value?: unknown;
  readonly done: boolean;
}

export interface Span {
  readonly id: string;
  readonly parent?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly outcome?: string;
  readonly value?: unknown;
  readonly elapsed_ms?: number;
  readonly cached?: boolean;
  readonly done: boolean;
  /** The number of the event that began it: where it stands among questions and notes. */
  readonly seq: number;
  readonly attributes?: Readonly<Record<string, unknown>>;
  /** Server times, in ms since the epoch. */
  readonly started?: number;
  readonly firstToken?: number;
  /** What its own calls used, all together. */
  readonly usage?: Usage;
  readonly provider?: string;
  readonly model?: string;
}

/** A word of the program's own: a log line, or what it is busy with. */
export interface Note {
  readonly seq: number;
  readonly kind: "log" | "status";
  readonly message: string;
  readonly level?: string;
  readonly data?: unknown;
  readonly span?: string;
}

export interface Attempt {
  readonly attempt: number;
  readonly provider?: string;
  readonly model?: string;
  readonly outcome?: string;
  readonly reason?: string;
}

export interface HumanAsk {
  readonly request: string;
  /** The number of the event that asked. */
  readonly seq: number;
  readonly kind?: string;
  readonly message: string;
  readonly options?: readonly unknown[];
  readonly default?: unknown;
  readonly deadline?: string;
  readonly answered: boolean;
  readonly value?: unknown;
}

export interface RunStatus {
  readonly message: string;
  /** Place in the queue, from 1, when the server says so. */
  readonly position?: number;
}

export interface RunState {
  readonly run: string;
  readonly kind?: string;
  readonly model?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** The last event folded in; 0 before the first. */
  readonly seq: number;
  /** Server times, in ms since the epoch. */
  readonly started?: number;
  readonly firstToken?: number;
  readonly latest?: number;
  readonly blocks: readonly Block[];
  readonly fields: readonly Field[];
  readonly spans: readonly Span[];
  readonly attempts: readonly Attempt[];
  readonly humans: readonly HumanAsk[];
  readonly notes: readonly Note[];
  readonly outputs: readonly unknown[];
  readonly sources: readonly { readonly url?: string; readonly title?: string; readonly text?: string }[];
  readonly files: readonly { readonly url?: string; readonly name?: string; readonly media_type?: string }[];
  readonly status?: RunStatus;
  readonly usage?: Usage;
  readonly cost?: number;
  readonly currency?: string;
  readonly first_token_ms?: number;
  readonly elapsed_ms?: number;
  readonly outcome?: Outcome;
  readonly finish_reason?: FinishReason | (string & {});
  readonly error?: RunErrorInfo;
  readonly result?: RunResult;
  readonly ended: boolean;
  /** How many events were of a type this client does not know. */
  readonly unknown: number;
}

export function emptyRun(run: string): RunState {
  return {
    run,
    seq: 0,
    blocks: [],
    fields: [],
    spans: [],
    attempts: [],
    humans: [],
    notes: [],
    outputs: [],
    sources: [],
    files: [],
    ended: false,
    unknown: 0,
  };
}

/** The answer as the reader should have it: the text of every block that was not taken back. */
export function textOf(state: RunState): string {
  return state.blocks
    .filter((block) => block.kind === "text" && block.retracted === undefined)
    .map((block) => block.text)
    .join("");
}

/** The run after `event`. Returns the same object when the event was already folded in. */
export function fold(state: RunState, event: WireEvent): RunState {
  if (event.seq <= state.seq || state.ended) return state;
  const time = event.time === undefined ? NaN : Date.parse(event.time);
  const at = Number.isNaN(time) ? undefined : time;
  const next = apply(state, event as RunEvent, at);
  return { ...next, seq: event.seq, ...(at === undefined ? {} : { latest: at }) };
}

function apply(state: RunState, event: RunEvent, at: number | undefined): RunState {
  switch (event.type) {
    case "run-start":
      return {
        ...state,
        ...given({ kind: event.kind, model: event.model, metadata: event.metadata, started: at }),
      };
    case "text-start":
      return open(state, { kind: "text", id: event.block, ...content(event.span, at) });
    case "reasoning-start":
      return open(state, { kind: "reasoning", id: event.block, ...content(event.span, at) });
    case "text-delta":
    case "reasoning-delta": {
      const kind = event.type === "text-delta" ? "text" : "reasoning";
      const known = findBlock(state, event.block);
      const ready = known < 0 ? open(state, { kind, id: event.block, ...content(event.span, at) }) : state;
      return first(grow(ready, event.block, event.delta), at, event.span);
    }
    case "text-end":
    case "reasoning-end":
      return close(state, event.block, at);
    case "tool-call-start":
      return first(
        open(state, {
          kind: "tool-call",
          id: event.block ?? event.call,
          tool: { call: event.call, name: event.name ?? "tool" },
          ...content(event.span, at),
        }),
        at,
        event.span,
      );
    case "tool-call-delta":
      return first(grow(state, event.block ?? event.call, event.delta), at, event.span);
    case "tool-call-end":
      return close(
        onTool(state, event.call, (tool) => ({ ...tool, ...given({ arguments: event.arguments }) })),
        event.block ?? event.call,
        at,
      );
    case "tool-result":
      return onTool(state, event.call, (tool) => ({
        ...tool,
        result: given({
          value: event.value,
          error: event.error,
          elapsed_ms: event.elapsed_ms,
          preliminary: event.preliminary,
        }),
      }));
    case "field-start":
      return {
        ...state,
        fields: [...state.fields, { path: event.path, text: "", done: false, ...spanOf(event.span) }],
      };
    case "field-delta":
      return onField(state, event.path, event.span, (field) => ({ ...field, text: field.text + event.delta }));
    case "field-end":
      if (event.cut) return state; // it was never finished, and never will be
      return onField(state, event.path, event.span, (field) => ({
        ...field,
        done: true,
        ...given({ value: event.value }),
      }));
    case "output":
      return { ...state, outputs: [...state.outputs, event.value] };
    case "output-reset":
      return retract(state, event.blocks, event.span ?? undefined, event.reason ?? "retry");
    case "span-start":
      return {
        ...state,
        spans: [
          ...state.spans,
          {
            id: event.span ?? "",
            seq: event.seq,
            done: false,
            ...given({
              parent: event.parent,
              kind: event.kind,
              name: event.name,
              attributes: event.attributes,
              started: at,
            }),
          },
        ],
      };
    case "span-end":
      return {
        ...state,
        spans: change(
          state.spans,
          state.spans.findIndex((span) => span.id === event.span),
          (span) => ({
            ...span,
            done: true,
            ...given({
              outcome: event.outcome,
              value: event.value,
              elapsed_ms: event.elapsed_ms,
              cached: event.cached,
            }),
          }),
        ),
      };
    case "attempt-start":
      return {
        ...onSpan(state, event.span, (span) => ({
          ...span,
          ...given({ provider: event.provider, model: event.model }),
        })),
        attempts: [
          ...state.attempts,
          {
            attempt: event.attempt ?? state.attempts.length + 1,
            ...given({ provider: event.provider, model: event.model }),
          },
        ],
      };
    case "attempt-end":
      return {
        ...state,
        attempts: change(state.attempts, state.attempts.length - 1, (attempt) => ({
          ...attempt,
          ...given({ outcome: event.outcome, reason: event.reason }),
        })),
      };
    case "usage":
      return {
        ...onSpan(state, event.span, (span) => ({ ...span, usage: added(span.usage, usageOf(event)) })),
        usage: usageOf(event),
        ...given({ cost: event.cost, currency: event.currency }),
      };
    case "human-request":
      return {
        ...state,
        humans: [
          ...state.humans,
          {
            request: event.request,
            seq: event.seq,
            message: event.message ?? "",
            answered: false,
            ...given({ kind: event.kind, options: event.options, default: event.default, deadline: event.deadline }),
          },
        ],
      };
    case "human-response":
      return {
        ...state,
        humans: change(
          state.humans,
          state.humans.findIndex((ask) => ask.request === event.request),
          (ask) => ({ ...ask, answered: true, ...given({ value: event.value }) }),
        ),
      };
    case "source":
      return { ...state, sources: [...state.sources, given({ url: event.url, title: event.title, text: event.text })] };
    case "file":
      return {
        ...state,
        files: [...state.files, given({ url: event.url, name: event.name, media_type: event.media_type })],
      };
    case "status": {
      const status = statusOf(event);
      const note: Note = { seq: event.seq, kind: "status", message: status.message, ...spanOf(event.span) };
      return { ...state, status, ...(event.span ? { notes: [...state.notes, note] } : {}) };
    }
    case "custom":
      return event.name === "log" ? { ...state, notes: [...state.notes, logOf(event)] } : state;
    case "checkpoint":
      return state;
    case "run-end":
      return end(state, event, at);
    default:
      return { ...state, unknown: state.unknown + 1 };
  }
}

/** The state of a run that can only be asked about, not followed: made from `GET /v1/runs/{run}`. */
export function fromInfo(info: RunInfo): RunState {
  const created = info.created === undefined ? NaN : Date.parse(info.created);
  const text = info.result?.text ?? "";
  return {
    ...emptyRun(info.run),
    ended: info.status === "ended",
    blocks: text === "" ? [] : [{ kind: "text", id: "result", text, done: true }],
    outputs: info.result?.output === undefined || info.result.output === null ? [] : [info.result.output],
    ...given({
      kind: info.kind,
      model: info.model,
      metadata: info.metadata,
      started: Number.isNaN(created) ? undefined : created,
      outcome: info.outcome,
      finish_reason: info.finish_reason,
      usage: info.usage,
      cost: info.cost ?? info.usage?.cost,
      currency: info.currency ?? info.usage?.currency,
      first_token_ms: info.first_token_ms,
      elapsed_ms: info.elapsed_ms,
      error: info.error,
      result: info.result,
    }),
  };
}

// -- the steps of `apply` ---------------------------------------------------------------------

type Given<T> = { [K in keyof T]?: NonNullable<T[K]> };

/** The keys that have a value: an absent fact stays absent instead of becoming undefined or null. */
function given<T extends object>(values: T): Given<T> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== null) out[key] = value;
  }
  return out as Given<T>;
}

function spanOf(span: string | null | undefined): { span?: string } {
  return span === undefined || span === null ? {} : { span };
}

function content(span: string | null | undefined, at: number | undefined) {
  return { text: "", done: false, ...spanOf(span), ...given({ started: at }) };
}

function change<T>(items: readonly T[], index: number, update: (item: T) => T): readonly T[] {
  if (index < 0 || index >= items.length) return items;
  const copy = items.slice();
  copy[index] = update(items[index]!);
  return copy;
}

/** The newest block with this id: an id may come again after its first use was taken back. */
function findBlock(state: RunState, id: string): number {
  for (let index = state.blocks.length - 1; index >= 0; index -= 1) {
    const block = state.blocks[index]!;
    if (block.id === id || block.tool?.call === id) return block.retracted === undefined ? index : -1;
  }
  return -1;
}

function open(state: RunState, block: Block): RunState {
  return { ...state, blocks: [...state.blocks, block] };
}

function grow(state: RunState, id: string, delta: string): RunState {
  const blocks = change(state.blocks, findBlock(state, id), (block) => ({ ...block, text: block.text + delta }));
  return { ...state, blocks };
}

function close(state: RunState, id: string, at: number | undefined): RunState {
  const blocks = change(state.blocks, findBlock(state, id), (block) => ({
    ...block,
    done: true,
    ...given({ ended: at }),
  }));
  return { ...state, blocks };
}

function onTool(state: RunState, call: string, update: (tool: ToolCall) => ToolCall): RunState {
  const blocks = change(state.blocks, findBlock(state, call), (block) =>
    block.tool === undefined ? block : { ...block, tool: update(block.tool) },
  );
  return { ...state, blocks };
}

function onField(
  state: RunState,
  path: string,
  span: string | null | undefined,
  update: (field: Field) => Field,
): RunState {
  let index = state.fields.length - 1;
  while (index >= 0 && !(state.fields[index]!.path === path && state.fields[index]!.span === (span ?? undefined)))
    index -= 1;
  if (index < 0)
    return { ...state, fields: [...state.fields, update({ path, text: "", done: false, ...spanOf(span) })] };
  return { ...state, fields: change(state.fields, index, update) };
}

function onSpan(state: RunState, id: string | null | undefined, update: (span: Span) => Span): RunState {
  if (id === undefined || id === null || id === "") return state;
  return {
    ...state,
    spans: change(
      state.spans,
      state.spans.findIndex((span) => span.id === id),
      update,
    ),
  };
}

function added(a: Usage | undefined, b: Usage): Usage {
  if (a === undefined) return b;
  const sum = (x: number | null | undefined, y: number | null | undefined) =>
    x === undefined || x === null || y === undefined || y === null ? undefined : x + y;
  return given({
    ...b,
    input_tokens: sum(a.input_tokens, b.input_tokens),
    output_tokens: sum(a.output_tokens, b.output_tokens),
    cost: sum(a.cost, b.cost),
    basis: a.basis === b.basis ? a.basis : "estimated",
  });
}

function logOf(event: Custom): Note {
  const { message, level, data } = (event.data ?? {}) as Record<string, unknown>;
  return {
    seq: event.seq,
    kind: "log",
    message: String(message ?? ""),
    ...given({ level: typeof level === "string" ? level : undefined, data }),
    ...spanOf(event.span),
  };
}

/** The first thing a person could see of the answer, and of the span it is in. */
function first(whole: RunState, at: number | undefined, id: string | null | undefined): RunState {
  const known = id ? whole.spans.find((span) => span.id === id) : undefined;
  const state =
    known === undefined || known.firstToken !== undefined
      ? whole
      : onSpan(whole, id, (span) => ({ ...span, ...given({ firstToken: at }) }));
  if (state.firstToken !== undefined) return state;
  const { status: _over, ...rest } = state;
  return { ...rest, ...given({ firstToken: at }) };
}

function retract(
  state: RunState,
  ids: readonly string[] | undefined,
  span: string | undefined,
  reason: string,
): RunState {
  const all = ids === undefined;
  const spans = new Set<string | undefined>([span]);
  const blocks = state.blocks.map((block) => {
    const named = all || ids.includes(block.id) || (block.tool !== undefined && ids.includes(block.tool.call));
    if (!named || block.retracted !== undefined) return block;
    spans.add(block.span);
    return { ...block, done: true, retracted: reason };
  });
  // Fields and outputs were read from the blocks that are gone; they are read anew. Those of a parallel slot stay.
  const fields = all ? [] : state.fields.filter((field) => !spans.has(field.span));
  return { ...state, blocks, fields, outputs: [] };
}

function usageOf(usage: Usage): Usage {
  return given({
    input_tokens: usage.input_tokens,
    output_tokens: usage.output_tokens,
    reasoning_tokens: usage.reasoning_tokens,
    cached_tokens: usage.cached_tokens,
    basis: usage.basis,
    cost: usage.cost,
    currency: usage.currency,
  });
}

function statusOf(event: { readonly message?: string; readonly [key: string]: unknown }): RunStatus {
  const message = event.message ?? "";
  const data = event["data"];
  const told =
    event["position"] ??
    (typeof data === "object" && data !== null ? (data as Record<string, unknown>)["position"] : undefined);
  const position = typeof told === "number" ? told : Number(/queue\D*(\d+)/i.exec(message)?.[1]);
  return { message, ...(Number.isInteger(position) ? { position } : {}) };
}

function end(state: RunState, event: RunEnd, at: number | undefined): RunState {
  // The stream may break inside a block: close what is open, so no spinner outlives the run.
  const blocks = state.blocks.map((block) => (block.done ? block : { ...block, done: true, ...given({ ended: at }) }));
  const { status: _over, ...rest } = state;
  return {
    ...rest,
    blocks,
    ended: true,
    outcome: event.outcome,
    ...given({
      finish_reason: event.finish_reason,
      result: event.result,
      usage: event.usage,
      cost: event.cost ?? event.usage?.cost,
      currency: event.currency ?? event.usage?.currency,
      first_token_ms: event.first_token_ms,
      elapsed_ms: event.elapsed_ms,
      error: event.error,
    }),
  };
}
