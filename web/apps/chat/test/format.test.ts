import { emptyRun, type RunState } from "@headrace/client";
import { describe, expect, test } from "vitest";
import { cost, duration, figures, seconds } from "../src/format.ts";

test("durations", () => {
  expect([0.4, 12, 994, 995, 12_340, 59_949, 60_000, 3_720_000].map(duration)).toEqual([
    "0 ms",
    "12 ms",
    "994 ms",
    "1.0 s",
    "12.3 s",
    "59.9 s",
    "1 min 0 s",
    "1 h 2 min",
  ]);
  expect(duration(undefined)).toBe("—");
  expect([0, 999, 61_500].map(seconds)).toEqual(["0 s", "0 s", "1 min 1 s"]);
});

test("costs: unknown is a dash, and small ones keep two digits that say something", () => {
  expect(cost(undefined)).toBe("—");
  expect([0, 1.5, 0.25, 0.0004123].map((amount) => cost(amount))).toEqual(["$0.00", "$1.50", "$0.25", "$0.00041"]);
  expect(cost(0.25, "eur")).toBe("0.25 EUR");
});

describe("figures", () => {
  const live: RunState = {
    ...emptyRun("r"),
    started: 0,
    firstToken: 200,
    latest: 2_200,
    blocks: [{ kind: "text", id: "b", text: "x".repeat(400), done: false }],
  };

  test("while it streams they are guesses, and say so", () => {
    expect(figures(live, 300)).toEqual({
      tokens: 100,
      guessed: true,
      firstTokenMs: 200,
      tokensPerSecond: 50,
      elapsedMs: undefined,
      leftMs: 4_000,
    });
    expect(figures(live, undefined).leftMs).toBeUndefined();
  });

  test("at the end they are what the provider said", () => {
    const ended: RunState = {
      ...live,
      ended: true,
      first_token_ms: 180,
      elapsed_ms: 2_180,
      usage: { output_tokens: 90, basis: "reported" },
    };
    expect(figures(ended, 300)).toMatchObject({ tokens: 90, guessed: false, tokensPerSecond: 45, leftMs: undefined });
    expect(figures({ ...ended, usage: { output_tokens: 90, basis: "estimated" } }, 300).guessed).toBe(true);
    expect(figures({ ...ended, usage: { basis: "unknown" } }, 300)).toMatchObject({ tokens: 100, guessed: true });
  });

  test("nothing known is nothing shown", () => {
    expect(figures(emptyRun("r"), undefined)).toMatchObject({
      tokens: undefined,
      tokensPerSecond: undefined,
      elapsedMs: undefined,
    });
  });
});
