/** What the page asks the server beside runs: files, checks, history. */

import { transport } from "../state.ts";

export interface Entry {
  readonly path: string;
  readonly kind: "file" | "folder";
  readonly size?: number;
  readonly modified?: string;
}

export interface Tree {
  readonly name: string;
  readonly entries: readonly Entry[];
  readonly truncated: boolean;
}

export interface TextFile {
  readonly path: string;
  readonly content: string;
  readonly etag: string;
}

export interface FieldSpec {
  readonly type: "string" | "number" | "integer" | "boolean" | "array" | "object";
  readonly required: boolean;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly description?: string;
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
  readonly items?: FieldSpec;
  readonly properties?: Readonly<Record<string, FieldSpec>>;
}

export interface Checked {
  readonly ok: boolean;
  readonly errors: readonly { readonly line: number; readonly column: number; readonly message: string }[];
  readonly inputs?: Readonly<Record<string, FieldSpec>>;
  readonly agents?: readonly { readonly name: string; readonly model?: string; readonly streaming: boolean }[];
  readonly tools?: readonly string[];
}

export interface PastRun {
  readonly run: string;
  readonly name: string;
  readonly path: string;
  readonly status: string;
  readonly outcome?: string;
  readonly created: string;
  readonly elapsed_ms?: number;
  readonly cost?: number;
  readonly currency?: string;
}

export interface Story {
  readonly run: {
    readonly run: string;
    readonly status: string;
    readonly outcome?: string;
    readonly elapsed_ms?: number;
  };
  readonly program: { readonly text: string; readonly name: string; readonly path?: string; readonly inputs?: unknown };
  readonly items: readonly StoryItem[];
  readonly resumable: boolean;
  /** Questions that still wait for a person though their run has been cut off. */
  readonly open: readonly string[];
}

export type StoryItem = StoryTurn | StoryAsk;

export interface StoryTurn {
  readonly type: "turn";
  readonly number: number;
  readonly agent: string;
  readonly model: string;
  readonly provider?: string;
  readonly outcome?: string;
  readonly error?: { readonly code: string; readonly message: string };
  readonly items?: readonly {
    readonly kind: "text" | "reasoning" | "tool-call" | "retry";
    readonly text?: string;
    readonly reason?: string;
    readonly call?: string;
    readonly name?: string;
    readonly arguments?: unknown;
    readonly value?: unknown;
    readonly error?: string;
    readonly elapsed_ms?: number;
    readonly rejected?: string;
  }[];
  readonly output?: unknown;
  readonly usage?: {
    readonly input_tokens?: number;
    readonly output_tokens?: number;
    readonly basis?: "reported" | "estimated" | "unknown";
    readonly cost?: number;
    readonly currency?: string;
  };
  readonly elapsed_ms?: number;
  readonly first_token_ms?: number;
}

export interface StoryAsk {
  readonly type: "human-request";
  readonly number: number;
  readonly request: string;
  readonly kind: string;
  readonly message: string;
  readonly options?: readonly unknown[];
  readonly default?: unknown;
  readonly answered: boolean;
  readonly value?: unknown;
}

const at = (path: string) => `/api/workspace/file?path=${encodeURIComponent(path)}`;

export const files = () => transport.json<Tree>("/api/workspace");
export const open = (path: string) => transport.json<TextFile>(at(path), { cache: "no-store" });
export const check = (text: string, signal: AbortSignal) =>
  transport.json<Checked>("/api/procedure/check", { method: "POST", body: JSON.stringify({ text }), signal });
export const history = (path: string | undefined) =>
  transport.json<{ runs: readonly PastRun[] }>(
    `/api/procedure/runs?limit=20${path === undefined ? "" : `&path=${encodeURIComponent(path)}`}`,
  );
export const story = (run: string) => transport.json<Story>(`/api/procedure/runs/${encodeURIComponent(run)}`);

/** Writes a file; `etag` is that of the content it replaces, undefined for a new one. */
export async function save(path: string, content: string, etag: string | undefined): Promise<string> {
  const headers: Record<string, string> = etag === undefined ? { "if-none-match": "*" } : { "if-match": etag };
  const body = JSON.stringify({ content });
  return (await transport.json<{ etag: string }>(at(path), { method: "PUT", headers, body })).etag;
}

/** Answers a question; gives the run that goes on, which is a new one when the server was restarted meanwhile. */
export async function answer(run: string, request: string, value: unknown): Promise<string> {
  const path = `/v1/runs/${encodeURIComponent(run)}/responses/${encodeURIComponent(request)}`;
  return (await transport.json<{ run: string }>(path, { method: "POST", body: JSON.stringify({ value }) })).run;
}

/** Goes on with a run that was cut off; with `program` as it is now, or as it was. */
export async function resume(run: string, program: string | undefined): Promise<string> {
  const body = JSON.stringify(program === undefined ? {} : { procedure: program });
  const path = `/v1/runs/${encodeURIComponent(run)}/resume`;
  return (await transport.json<{ run: string }>(path, { method: "POST", body })).run;
}
