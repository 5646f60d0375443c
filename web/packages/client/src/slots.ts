/**
 * The slots of a template's run: each with its text, its fields and its value, as far as they have come. Pure.
 *
 * `slotsOf` gives a slot that has not changed as the same object again, so that a page with twenty slots draws
 * one card a token and not twenty.
 */

import type { Block, Field, RunState, Span } from "./fold.ts";

export interface SlotState {
  /** The span's id: a slot in a loop is asked more than once. */
  readonly id: string;
  readonly key: string;
  readonly span: Span;
  readonly type: string | undefined;
  readonly segment: number | undefined;
  /** Whether its text is shown while it is written. */
  readonly streams: boolean;
  readonly blocks: readonly Block[];
  readonly fields: readonly Field[];
  /** How it stands. `stopped`: the run ended before the slot did. */
  readonly status: "asking" | "writing" | "done" | "failed" | "stopped";
}

export function slotsOf(state: RunState, before: readonly SlotState[] = []): readonly SlotState[] {
  const known = new Map(before.map((slot) => [slot.id, slot]));
  const owner = new Map<string, string>();
  const parts = new Map<string, { span: Span; blocks: Block[]; fields: Field[] }>();
  for (const span of state.spans) {
    if (span.kind === "slot") {
      parts.set(span.id, { span, blocks: [], fields: [] });
      owner.set(span.id, span.id);
    } else if (span.parent !== undefined && owner.has(span.parent)) {
      // What a tool does inside a slot is the slot's.
      owner.set(span.id, owner.get(span.parent)!);
    }
  }
  for (const block of state.blocks) parts.get(owner.get(block.span ?? "") ?? "")?.blocks.push(block);
  for (const field of state.fields) parts.get(owner.get(field.span ?? "") ?? "")?.fields.push(field);
  return [...parts.values()].map(({ span, blocks, fields }) => {
    const attributes = span.attributes ?? {};
    const made: SlotState = {
      id: span.id,
      key: text(attributes["key"]) ?? span.name ?? span.id,
      span,
      type: text(attributes["type"]),
      segment: typeof attributes["segment"] === "number" ? attributes["segment"] : undefined,
      streams: attributes["streams"] !== false,
      blocks,
      fields,
      status: statusOf(span, blocks.length + fields.length > 0, state.ended),
    };
    const old = known.get(span.id);
    return old !== undefined && same(old, made) ? old : made;
  });
}

function statusOf(span: Span, shown: boolean, ended: boolean): SlotState["status"] {
  if (!span.done) return ended ? "stopped" : shown ? "writing" : "asking";
  if (span.outcome === "cancelled" || span.outcome === "interrupted") return "stopped";
  return span.outcome === undefined || span.outcome === "completed" ? "done" : "failed";
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function same(a: SlotState, b: SlotState): boolean {
  return (
    a.span === b.span &&
    a.status === b.status &&
    a.blocks.length === b.blocks.length &&
    a.fields.length === b.fields.length &&
    a.blocks.every((block, index) => block === b.blocks[index]) &&
    a.fields.every((field, index) => field === b.fields[index])
  );
}
