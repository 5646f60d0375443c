/**
 * What can happen in a run: the events of the native wire, as types and nothing else.
 *
 * Names are those of the project's contract. An event of a type that is not listed here is legal
 * and is carried unchanged. What a page makes of the events is in `fold.ts`.
 */

export type Outcome = "completed" | "failed" | "cancelled" | "interrupted";
export type FinishReason = "stop" | "length" | "tool-calls" | "content-filter" | "other";
export type Basis = "reported" | "estimated" | "unknown";

/** Every error code a run, an HTTP body or a client can carry. */
export type ErrorCode =
  | "provider-unreachable"
  | "provider-timeout"
  | "provider-overloaded"
  | "provider-error"
  | "provider-protocol"
  | "stream-incomplete"
  | "rate-limited"
  | "auth-failed"
  | "bad-request"
  | "model-not-found"
  | "context-too-long"
  | "content-blocked"
  | "output-rejected"
  | "tool-failed"
  | "deadline"
  | "interrupted"
  | "run-not-found"
  | "cursor-malformed"
  | "cursor-foreign"
  | "cursor-ahead"
  | "retention-passed"
  | "unauthorized"
  | "forbidden"
  | "too-large"
  | "too-many"
  | "template-error"
  | "procedure-error"
  | "store-unavailable"
  | "usage"
  | "missing-extra";

export interface Usage {
  readonly input_tokens?: number | null;
  readonly output_tokens?: number | null;
  readonly reasoning_tokens?: number | null;
  readonly cached_tokens?: number | null;
  /** Where the numbers come from. Unknown is unknown, never 0. */
  readonly basis?: Basis;
  readonly cost?: number | null;
  readonly currency?: string | null;
}

export interface RunErrorInfo {
  readonly code: ErrorCode | (string & {});
  readonly message: string;
  readonly retryable?: boolean;
  readonly provider_status?: number | null;
  readonly span?: string | null;
  readonly details?: Readonly<Record<string, unknown>>;
}

interface Base {
  readonly run: string;
  /** Counts from 1 without a gap inside a run. */
  readonly seq: number;
  /** On a merged delta: the seq of the first delta in it. */
  readonly from?: number;
  readonly time?: string;
  readonly span?: string | null;
}

export interface RunStart extends Base {
  readonly type: "run-start";
  readonly kind?: string;
  readonly model?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
}
export interface SpanStart extends Base {
  readonly type: "span-start";
  readonly parent?: string | null;
  readonly kind?: string;
  readonly name?: string;
  readonly attributes?: Readonly<Record<string, unknown>>;
}
export interface SpanEnd extends Base {
  readonly type: "span-end";
  readonly outcome?: string;
  readonly value?: unknown;
  readonly elapsed_ms?: number;
  readonly cached?: boolean;
}
export interface AttemptStart extends Base {
  readonly type: "attempt-start";
  readonly attempt?: number;
  readonly provider?: string;
  readonly model?: string;
}
export interface AttemptEnd extends Base {
  readonly type: "attempt-end";
  readonly attempt?: number;
  readonly outcome?: string;
  readonly reason?: string | null;
}
export interface ContentStart extends Base {
  readonly type: "text-start" | "reasoning-start";
  readonly block: string;
}
export interface ContentDelta extends Base {
  readonly type: "text-delta" | "reasoning-delta";
  readonly block: string;
  readonly delta: string;
}
export interface ContentEnd extends Base {
  readonly type: "text-end" | "reasoning-end";
  readonly block: string;
}
export interface ToolCallStart extends Base {
  readonly type: "tool-call-start";
  readonly call: string;
  readonly name?: string;
  readonly block?: string;
}
export interface ToolCallDelta extends Base {
  readonly type: "tool-call-delta";
  readonly call: string;
  readonly delta: string;
  readonly block?: string;
}
export interface ToolCallEnd extends Base {
  readonly type: "tool-call-end";
  readonly call: string;
  readonly arguments?: unknown;
  readonly block?: string;
}
export interface ToolResult extends Base {
  readonly type: "tool-result";
  readonly call: string;
  readonly value?: unknown;
  readonly error?: unknown;
  readonly elapsed_ms?: number;
  readonly preliminary?: boolean;
}
export interface FieldStart extends Base {
  readonly type: "field-start";
  readonly path: string;
}
export interface FieldDelta extends Base {
  readonly type: "field-delta";
  readonly path: string;
  readonly delta: string;
  readonly index?: number;
}
export interface FieldEnd extends Base {
  readonly type: "field-end";
  readonly path: string;
  readonly value?: unknown;
  /** The text broke off in the middle of the field; there is no value then. */
  readonly cut?: boolean;
}
export interface Output extends Base {
  readonly type: "output";
  readonly value: unknown;
}
export interface OutputReset extends Base {
  readonly type: "output-reset";
  readonly blocks?: readonly string[];
  readonly reason?: string;
}
export interface UsageEvent extends Base, Usage {
  readonly type: "usage";
}
export interface HumanRequest extends Base {
  readonly type: "human-request";
  readonly request: string;
  readonly kind?: string;
  readonly message?: string;
  readonly options?: readonly unknown[] | null;
  readonly default?: unknown;
  readonly deadline?: string | null;
}
export interface HumanResponse extends Base {
  readonly type: "human-response";
  readonly request: string;
  readonly value?: unknown;
}
export interface Checkpoint extends Base {
  readonly type: "checkpoint";
  readonly index?: number;
  readonly name?: string;
}
export interface Source extends Base {
  readonly type: "source";
  readonly url?: string | null;
  readonly title?: string | null;
  readonly text?: string | null;
}
export interface File extends Base {
  readonly type: "file";
  readonly url?: string | null;
  readonly media_type?: string | null;
  readonly name?: string | null;
}
export interface Custom extends Base {
  readonly type: "custom";
  readonly name?: string;
  readonly data?: unknown;
}
export interface Status extends Base {
  readonly type: "status";
  readonly message?: string;
  readonly [key: string]: unknown;
}
export interface RunEnd extends Base {
  readonly type: "run-end";
  readonly outcome: Outcome;
  readonly finish_reason?: FinishReason | (string & {}) | null;
  readonly result?: RunResult | null;
  readonly usage?: Usage | null;
  readonly cost?: number | null;
  readonly currency?: string | null;
  readonly first_token_ms?: number | null;
  readonly elapsed_ms?: number | null;
  readonly error?: RunErrorInfo | null;
}

export interface RunResult {
  readonly text?: string;
  readonly output?: unknown;
  readonly tool_calls?: readonly unknown[];
  readonly [key: string]: unknown;
}

export type RunEvent =
  | RunStart
  | SpanStart
  | SpanEnd
  | AttemptStart
  | AttemptEnd
  | ContentStart
  | ContentDelta
  | ContentEnd
  | ToolCallStart
  | ToolCallDelta
  | ToolCallEnd
  | ToolResult
  | FieldStart
  | FieldDelta
  | FieldEnd
  | Output
  | OutputReset
  | UsageEvent
  | HumanRequest
  | HumanResponse
  | Checkpoint
  | Source
  | File
  | Custom
  | Status
  | RunEnd;

/** An event from a newer server: carried, counted, not understood. */
export interface UnknownEvent extends Base {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** Anything the wire can hand us. */
export type WireEvent = RunEvent | UnknownEvent;

/** A run as `GET /v1/runs/{run}` tells it. What is not known yet is absent. */
export interface RunInfo {
  readonly run: string;
  readonly kind?: string;
  readonly model?: string | null;
  readonly status?: "queued" | "running" | "ended";
  readonly created?: string;
  readonly conversation?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly outcome?: Outcome;
  readonly finish_reason?: string | null;
  readonly result?: RunResult | null;
  readonly usage?: Usage | null;
  readonly cost?: number | null;
  readonly currency?: string | null;
  readonly first_token_ms?: number | null;
  readonly elapsed_ms?: number | null;
  readonly error?: RunErrorInfo | null;
}

/** Reads one event from JSON text. Throws `SyntaxError` or `TypeError` when it is not one. */
export function parseEvent(text: string): WireEvent {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null) throw new TypeError("an event must be a JSON object");
  const event = value as Record<string, unknown>;
  if (typeof event["type"] !== "string") throw new TypeError("an event must have a type");
  if (typeof event["seq"] !== "number") throw new TypeError(`a ${JSON.stringify(event["type"])} event must have a seq`);
  return value as WireEvent;
}
