import { expect, test } from "vitest";
import type { WireEvent } from "../src/events.ts";
import { emptyRun, fold, type RunState } from "../src/fold.ts";
import { slotsOf } from "../src/slots.ts";

function after(steps: Record<string, unknown>[], from: RunState = emptyRun("run_1")): RunState {
  return steps.reduce<RunState>(
    (state, step) => fold(state, { run: "run_1", seq: state.seq + 1, ...step } as unknown as WireEvent),
    from,
  );
}

const OPEN = after([
  { type: "run-start", kind: "template" },
  { type: "span-start", span: "a", kind: "slot", name: "plot", attributes: { segment: 0, key: "plot", type: "think" } },
  { type: "span-start", span: "b", kind: "slot", name: "n", attributes: { segment: 1, type: "int", streams: false } },
  { type: "span-start", span: "t", kind: "tool", parent: "a", name: "look" },
  { type: "text-delta", block: "x", span: "a", delta: "One" },
  { type: "text-delta", block: "y", span: "t", delta: "tool" },
  { type: "field-delta", path: "/n", span: "b", delta: "4" },
  { type: "text-delta", block: "z", delta: "nobody's" },
]);

test("each slot has its own text and fields, and those of what it calls", () => {
  const slots = slotsOf(OPEN);
  expect(slots.map(({ key, type, segment, streams, status }) => ({ key, type, segment, streams, status }))).toEqual([
    { key: "plot", type: "think", segment: 0, streams: true, status: "writing" },
    { key: "n", type: "int", segment: 1, streams: false, status: "writing" },
  ]);
  expect(slots[0]!.blocks.map((block) => block.text)).toEqual(["One", "tool"]);
  expect(slots[1]!.fields.map((field) => field.text)).toEqual(["4"]);
});

test("what did not change is the same object", () => {
  const before = slotsOf(OPEN);
  const now = slotsOf(after([{ type: "text-delta", block: "x", span: "a", delta: " more" }], OPEN), before);
  expect(now[0]).not.toBe(before[0]);
  expect(now[1]).toBe(before[1]);
});

test("taking back one slot's text leaves its neighbours' fields", () => {
  const slots = slotsOf(after([{ type: "output-reset", blocks: ["x"], span: "a", reason: "validation" }], OPEN));
  expect(slots[0]!.blocks[0]!.retracted).toBe("validation");
  expect(slots[1]!.fields).toHaveLength(1);
});

test("how a slot ended", () => {
  const ended = after(
    [
      { type: "span-end", span: "a", outcome: "failed" },
      { type: "run-end", outcome: "failed" },
    ],
    OPEN,
  );
  expect(slotsOf(ended).map((slot) => slot.status)).toEqual(["failed", "stopped"]);
  const well = after([{ type: "span-end", span: "b", outcome: "completed", value: 4 }], OPEN);
  expect(slotsOf(well)[1]).toMatchObject({ status: "done", span: { value: 4 } });
});
