/**
 * What a run did, as the list the page shows: turns, questions, log lines, each once and in order.
 *
 * From the live run (`entriesOf`) or from the ledger's story of an old one (`entriesFrom`); both pure, and both
 * give the same entries, so a run looks the same while it goes and a year later.
 */

import type { Block, Field, HumanAsk, Note, RunState, Span, Usage } from "@headrace/client";
import type { Story, StoryTurn } from "./api.ts";

export interface Turn {
  readonly type: "turn";
  readonly key: string;
  readonly agent: string;
  readonly model: string | undefined;
  readonly provider: string | undefined;
  readonly state: "waiting" | "streaming" | "done" | "failed" | "stopped";
  readonly cached: boolean;
  readonly pieces: readonly Block[];
  readonly notes: readonly string[];
  /** The fields of an answer that is being written, where the agent has an `output`. */
  readonly fields: readonly Field[];
  /** The checked answer, where the agent has an `output`. */
  readonly output: unknown;
  readonly structured: boolean;
  readonly error: string | undefined;
  readonly usage: Usage | undefined;
  readonly started: number | undefined;
  readonly elapsedMs: number | undefined;
  readonly firstTokenMs: number | undefined;
}

export interface Ask {
  readonly type: "ask";
  readonly key: string;
  readonly ask: HumanAsk;
}

export interface Log {
  readonly type: "log";
  readonly key: string;
  readonly note: Note;
}

export type RunEntry = Turn | Ask | Log;

export function entriesOf(state: RunState): readonly RunEntry[] {
  const entries: { readonly seq: number; readonly entry: RunEntry }[] = [];
  const ids = new Set<string>();
  for (const span of state.spans) {
    if (span.kind !== "agent") continue;
    ids.add(span.id);
    entries.push({ seq: span.seq, entry: turnOf(state, span) });
  }
  for (const ask of state.humans)
    entries.push({ seq: ask.seq, entry: { type: "ask", key: `ask:${ask.request}`, ask } });
  for (const note of state.notes) {
    if (note.kind === "status" && note.span !== undefined && ids.has(note.span)) continue;
    entries.push({ seq: note.seq, entry: { type: "log", key: `note:${note.seq}`, note } });
  }
  return entries.sort((a, b) => a.seq - b.seq).map(({ entry }) => entry);
}

/** A turn that did not change keeps its identity, so that its card is not drawn again. */
const cache = new WeakMap<Span, Turn>();

function turnOf(state: RunState, span: Span): Turn {
  const pieces = state.blocks.filter((block) => block.span === span.id);
  const fields = state.fields.filter((field) => field.span === span.id);
  const notes = state.notes.filter((note) => note.span === span.id).map((note) => note.message);
  const known = cache.get(span);
  if (
    known !== undefined &&
    same(known.pieces, pieces) &&
    same(known.fields, fields) &&
    known.notes.length === notes.length
  )
    return known;
  const object = typeof span.value === "object" && span.value !== null;
  const turn: Turn = {
    type: "turn",
    key: span.id,
    agent: span.name ?? "agent",
    model: text(span.attributes?.["model"]) ?? span.model,
    provider: span.provider,
    state: stateOf(span, pieces),
    cached: span.cached ?? false,
    pieces,
    notes,
    fields,
    output: object ? span.value : undefined,
    structured: object || span.attributes?.["structured"] === true,
    error: undefined,
    usage: span.usage,
    started: span.started,
    elapsedMs: span.elapsed_ms,
    firstTokenMs:
      span.cached || span.firstToken === undefined || span.started === undefined
        ? undefined
        : Math.max(0, span.firstToken - span.started),
  };
  cache.set(span, turn);
  return turn;
}

function same<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

function stateOf(span: Span, pieces: readonly Block[]): Turn["state"] {
  if (!span.done)
    return pieces.some((piece) => piece.text !== "" && piece.retracted === undefined) ? "streaming" : "waiting";
  if (span.outcome === "completed") return "done";
  return span.outcome === "cancelled" || span.outcome === "interrupted" ? "stopped" : "failed";
}

/** The entries of a run whose events are gone. */
export function entriesFrom(story: Story): readonly RunEntry[] {
  return story.items.map((item): RunEntry => {
    if (item.type === "turn") return pastTurn(item);
    const { type: _type, number, ...ask } = item;
    return { type: "ask", key: `ask:${ask.request}`, ask: { ...ask, seq: number } as HumanAsk };
  });
}

function pastTurn(item: StoryTurn): Turn {
  const key = `turn:${item.number}`;
  const structured = typeof item.output === "object" && item.output !== null;
  return {
    type: "turn",
    key,
    agent: item.agent,
    model: item.model,
    provider: item.provider,
    state: item.outcome === "failed" ? "failed" : "done",
    cached: false,
    pieces: (item.items ?? []).flatMap((piece, index) => {
      if (piece.kind === "retry") return [];
      const args = piece.arguments === undefined ? "" : JSON.stringify(piece.arguments);
      const block: Block = {
        kind: piece.kind,
        id: `${key}:${index}`,
        text: piece.text ?? args,
        done: true,
        ...(piece.rejected === undefined ? {} : { retracted: piece.rejected }),
        ...(piece.kind !== "tool-call"
          ? {}
          : {
              tool: {
                call: piece.call ?? "",
                name: piece.name ?? "tool",
                arguments: piece.arguments,
                result: {
                  ...(piece.error === undefined ? { value: piece.value } : { error: piece.error }),
                  ...(piece.elapsed_ms === undefined ? {} : { elapsed_ms: piece.elapsed_ms }),
                },
              },
            }),
      };
      return [block];
    }),
    notes: (item.items ?? []).flatMap((piece) => (piece.kind === "retry" ? [piece.reason ?? "asked again"] : [])),
    fields: [],
    output: structured ? item.output : undefined,
    structured,
    error: item.error?.message,
    usage: item.usage,
    started: undefined,
    elapsedMs: item.elapsed_ms,
    firstTokenMs: item.first_token_ms,
  };
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
