import { describe, expect, test } from "vitest";
import type { WireEvent } from "../src/events.ts";
import { emptyRun, fold, fromInfo, textOf, type RunState } from "../src/fold.ts";
import { shapeOfFields } from "../src/shape.ts";

/** Events with run, seq and time filled in: one millisecond apart. */
function events(...steps: Record<string, unknown>[]): WireEvent[] {
  return steps.map((step, index) => ({
    run: "run_1",
    seq: index + 1,
    time: new Date(Date.UTC(2026, 0, 1) + index).toISOString(),
    ...step,
  })) as WireEvent[];
}

function foldAll(list: readonly WireEvent[], from: RunState = emptyRun("run_1")): RunState {
  return list.reduce(fold, from);
}

const ANSWER = events(
  { type: "run-start", kind: "chat", model: "demo", metadata: { a: 1 } },
  { type: "status", message: "queued", position: 2 },
  { type: "attempt-start", attempt: 1, provider: "demo", model: "demo-1" },
  { type: "reasoning-start", block: "r" },
  { type: "reasoning-delta", block: "r", delta: "Hmm." },
  { type: "reasoning-end", block: "r" },
  { type: "text-start", block: "b" },
  { type: "text-delta", block: "b", delta: "Hello" },
  { type: "text-delta", block: "b", delta: ", world" },
  { type: "text-end", block: "b" },
  { type: "usage", output_tokens: 3, basis: "reported", cost: null },
  { type: "attempt-end", attempt: 1, outcome: "completed" },
  {
    type: "run-end",
    outcome: "completed",
    finish_reason: "stop",
    result: { text: "Hello, world" },
    usage: { output_tokens: 3, basis: "reported" },
    cost: null,
    first_token_ms: 4,
    elapsed_ms: 12,
    error: null,
  },
);

test("an answer from its first event to its last", () => {
  const state = foldAll(ANSWER);
  expect(textOf(state)).toBe("Hello, world");
  expect(state).toMatchObject({
    seq: 13,
    kind: "chat",
    model: "demo",
    ended: true,
    outcome: "completed",
    finish_reason: "stop",
    first_token_ms: 4,
    elapsed_ms: 12,
    usage: { output_tokens: 3, basis: "reported" },
    attempts: [{ attempt: 1, provider: "demo", model: "demo-1", outcome: "completed" }],
    unknown: 0,
  });
  expect(state.blocks.map(({ kind, text, done }) => ({ kind, text, done }))).toEqual([
    { kind: "reasoning", text: "Hmm.", done: true },
    { kind: "text", text: "Hello, world", done: true },
  ]);
  expect(state.firstToken! - state.started!).toBe(4);
  expect("cost" in state, "an unknown cost is absent, not zero").toBe(false);
  expect("error" in state).toBe(false);
});

test("the queue is shown until the first token", () => {
  expect(foldAll(ANSWER.slice(0, 2)).status).toEqual({ message: "queued", position: 2 });
  expect(foldAll(ANSWER.slice(0, 5)).status).toBeUndefined();
});

describe("replays and merges", () => {
  test("every event twice, and the whole stream again, change nothing", () => {
    const doubled = ANSWER.flatMap((event) => [event, event]);
    expect(foldAll([...doubled, ...ANSWER])).toEqual(foldAll(ANSWER));
  });

  test("an event that was seen gives the same object back", () => {
    const state = foldAll(ANSWER.slice(0, 8));
    expect(fold(state, ANSWER[3]!)).toBe(state);
  });

  test("a merged delta counts for all it covers", () => {
    const merged = { ...ANSWER[8]!, from: 8, delta: "Hello, world" } as WireEvent;
    const state = foldAll([...ANSWER.slice(0, 7), merged, ...ANSWER.slice(7)]);
    expect(textOf(state)).toBe("Hello, world");
    expect(state).toEqual(foldAll(ANSWER));
  });
});

test("what an event does not touch keeps its identity", () => {
  const before = foldAll(ANSWER.slice(0, 8));
  const after = fold(before, ANSWER[8]!);
  expect(after.blocks[0]).toBe(before.blocks[0]);
  expect(after.blocks[1]).not.toBe(before.blocks[1]);
  expect(after.attempts).toBe(before.attempts);
  expect(after.spans).toBe(before.spans);
});

test("folding changes no earlier state", () => {
  const before = foldAll(ANSWER.slice(0, 8));
  const copy = structuredClone(before);
  foldAll(ANSWER, before);
  expect(before).toEqual(copy);
});

test("a hundred thousand tokens fold in linear time", () => {
  const many = events(
    { type: "text-start", block: "b" },
    ...Array.from({ length: 100_000 }, () => ({ type: "text-delta", block: "b", delta: "token " })),
  );
  expect(textOf(foldAll(many)).length).toBe(600_000);
});

test("a reset takes blocks back, with the reason, and keeps what replaces them apart", () => {
  const state = foldAll(
    events(
      { type: "text-start", block: "b1" },
      { type: "text-delta", block: "b1", delta: "wrong" },
      { type: "tool-call-start", call: "c1", name: "look" },
      { type: "field-start", path: "/a" },
      { type: "output-reset", blocks: ["b1", "c1"], reason: "failover" },
      { type: "text-start", block: "b1" },
      { type: "text-delta", block: "b1", delta: "right" },
      { type: "text-delta", block: "b1", delta: "!" },
    ),
  );
  expect(textOf(state)).toBe("right!");
  expect(state.blocks.map((block) => [block.text, block.retracted, block.done])).toEqual([
    ["wrong", "failover", true],
    ["", "failover", true],
    ["right!", undefined, false],
  ]);
  expect(state.fields).toEqual([]);
});

test("a reset without blocks takes everything back", () => {
  const state = foldAll(
    events(
      { type: "text-start", block: "b1" },
      { type: "text-delta", block: "b1", delta: "x" },
      { type: "output-reset" },
    ),
  );
  expect(textOf(state)).toBe("");
});

test("a tool call: its arguments grow, are parsed, and have a result", () => {
  const list = events(
    { type: "tool-call-start", call: "c1", name: "river" },
    { type: "tool-call-delta", call: "c1", delta: '{"days"' },
    { type: "tool-call-delta", call: "c1", delta: ": 3}" },
    { type: "tool-call-end", call: "c1", arguments: { days: 3 } },
    { type: "tool-result", call: "c1", value: 182, elapsed_ms: 5 },
  );
  expect(foldAll(list.slice(0, 2)).blocks[0]).toMatchObject({ kind: "tool-call", text: '{"days"', done: false });
  expect(foldAll(list).blocks[0]).toMatchObject({
    text: '{"days": 3}',
    done: true,
    tool: { call: "c1", name: "river", arguments: { days: 3 }, result: { value: 182, elapsed_ms: 5 } },
  });
});

test("fields are kept a span and a path", () => {
  const state = foldAll(
    events(
      { type: "field-start", span: "s1", path: "/a" },
      { type: "field-start", span: "s2", path: "/a" },
      { type: "field-delta", span: "s1", path: "/a", delta: "1" },
      { type: "field-delta", span: "s2", path: "/a", delta: "2" },
      { type: "field-end", span: "s1", path: "/a", value: 1 },
      { type: "output", value: { a: 1 } },
    ),
  );
  expect(state.fields).toEqual([
    { path: "/a", span: "s1", text: "1", done: true, value: 1 },
    { path: "/a", span: "s2", text: "2", done: false },
  ]);
  expect(state.outputs).toEqual([{ a: 1 }]);
});

test("a field that was cut off is not finished", () => {
  const state = foldAll(
    events(
      { type: "field-start", path: "/a" },
      { type: "field-delta", path: "/a", delta: "Half a wo" },
      { type: "field-end", path: "/a", cut: true },
    ),
  );
  expect(state.fields).toEqual([{ path: "/a", text: "Half a wo", done: false }]);
  expect(shapeOfFields(state.fields)).toEqual({
    kind: "object",
    entries: [["a", { kind: "value", value: "Half a wo", done: false }]],
    done: false,
  });
});

test("spans, questions, sources and files", () => {
  const state = foldAll(
    events(
      { type: "span-start", span: "s1", kind: "slot", name: "title", attributes: { type: "text" } },
      { type: "span-end", span: "s1", outcome: "completed", value: "x", elapsed_ms: 3, cached: true },
      { type: "human-request", request: "q", kind: "approval", message: "Go on?" },
      { type: "human-response", request: "q", value: true },
      { type: "source", url: "https://example.org", title: "t" },
      { type: "file", url: "https://example.org/f", name: "f" },
    ),
  );
  expect(state.spans).toMatchObject([
    {
      id: "s1",
      kind: "slot",
      name: "title",
      attributes: { type: "text" },
      started: Date.UTC(2026, 0, 1),
      outcome: "completed",
      value: "x",
      elapsed_ms: 3,
      cached: true,
      done: true,
      seq: 1,
    },
  ]);
  expect(state.humans).toEqual([
    { request: "q", seq: 3, kind: "approval", message: "Go on?", answered: true, value: true },
  ]);
  expect(state.sources).toEqual([{ url: "https://example.org", title: "t" }]);
  expect(state.files).toEqual([{ url: "https://example.org/f", name: "f" }]);
});

test("what a span used, when its first token came, and what the program noted", () => {
  const usage = { type: "usage", span: "s1", input_tokens: 2, output_tokens: 3, cost: 0.5, basis: "reported" } as const;
  const state = foldAll(
    events(
      { type: "span-start", span: "s1", kind: "agent", name: "teller", attributes: { model: "m" } },
      { type: "attempt-start", span: "s1", attempt: 1, provider: "p", model: "m" },
      { type: "text-start", span: "s1", block: "b" },
      { type: "text-delta", span: "s1", block: "b", delta: "Hi" },
      usage,
      usage,
      { type: "status", span: "s1", message: "attempt 2 of 3" },
      { type: "custom", name: "log", data: { level: "warn", message: "careful", data: null, line: 3 } },
      { type: "custom", name: "other", data: {} },
    ),
  );
  expect(state.spans[0]).toMatchObject({ provider: "p", model: "m", attributes: { model: "m" } });
  expect(state.spans[0]?.usage).toMatchObject({ input_tokens: 4, output_tokens: 6, cost: 1, basis: "reported" });
  expect(state.notes).toEqual([
    { seq: 7, kind: "status", message: "attempt 2 of 3", span: "s1" },
    { seq: 8, kind: "log", level: "warn", message: "careful" },
  ]);
});

test("the end closes what was left open, and nothing comes after it", () => {
  const list = events(
    { type: "text-start", block: "b" },
    { type: "text-delta", block: "b", delta: "half" },
    { type: "run-end", outcome: "failed", error: { code: "stream-incomplete", message: "m", retryable: true } },
    { type: "text-delta", block: "b", delta: " more" },
  );
  const state = foldAll(list);
  expect(state.blocks[0]).toMatchObject({ text: "half", done: true });
  expect(state).toMatchObject({ outcome: "failed", error: { code: "stream-incomplete" }, seq: 3 });
});

test("a type from a newer server is counted and ignored", () => {
  const state = foldAll(events({ type: "hologram-start", block: "h" }, { type: "custom", name: "x", data: 1 }));
  expect(state).toMatchObject({ unknown: 1, seq: 2, blocks: [] });
});

test("deltas without a start are still text", () => {
  expect(textOf(foldAll(events({ type: "text-delta", block: "b", delta: "late" })))).toBe("late");
});

test("the state of a run whose events are gone", () => {
  const state = fromInfo({
    run: "run_1",
    status: "ended",
    outcome: "completed",
    result: { text: "kept", output: { a: 1 } },
    usage: { output_tokens: 1 },
    error: null,
  });
  expect(textOf(state)).toBe("kept");
  expect(state).toMatchObject({ ended: true, outcome: "completed", outputs: [{ a: 1 }], usage: { output_tokens: 1 } });
});
