import { describe, expect, test } from "vitest";
import type { Edge, Fact, Node, Trace } from "../src/companion/api.ts";
import { barsOf, detailOf } from "../src/companion/bars.ts";
import { HEIGHT, layout } from "../src/companion/graph-layout.ts";
import { entriesOf, openRun, remembered } from "../src/companion/timeline.ts";

function fact(
  seq: number,
  kind: string,
  id: string,
  meta: Record<string, unknown> = {},
  content = `text ${seq}`,
): Fact {
  return { seq, kind, id, meta, content, time: "2026-01-01T00:00:00Z", prev_hash: "", hash: "" };
}

describe("the timeline", () => {
  const talk = [
    fact(1, "user", "run_a:user"),
    fact(2, "response", "run_a:end", { outcome: "completed" }),
    fact(3, "user", "run_b:user"), // written before the follow-up of the first turn
    fact(4, "commitment", "marker:2:0", { turn: 2 }),
    fact(5, "trait", "marker:2:1", { turn: 2 }),
    fact(6, "reflection", "reflection:run_r"),
  ];

  test("a turn has its ending and what became of it, wherever that stands", () => {
    const [first, second, reflection] = entriesOf(talk);
    expect(first).toMatchObject({ kind: "turn", run: "run_a", end: { seq: 2 } });
    expect(first?.kind === "turn" && first.memory.map((found) => found.seq)).toEqual([4, 5]);
    expect(second).toMatchObject({ kind: "turn", run: "run_b", memory: [] });
    expect(reflection).toMatchObject({ kind: "fact", fact: { seq: 6 } });
  });

  test("the last turn without an ending is the one that is being answered", () => {
    expect(openRun(entriesOf(talk))).toBe("run_b");
    const ended = [...talk, fact(7, "generation-ended", "run_b:end", { outcome: "cancelled" })];
    expect(openRun(entriesOf(ended))).toBeUndefined();
    expect(openRun([])).toBeUndefined();
  });

  test("facts whose beginning is not loaded are left out", () => {
    expect(entriesOf(talk.slice(1, 2))).toEqual([]);
    expect(entriesOf(talk.slice(3, 5))).toEqual([]);
  });

  test("every kind is said in words", () => {
    expect(remembered(fact(4, "commitment", "", {}, "water"))).toBe("Promised: water");
    expect(remembered(fact(4, "made-up", "", {}, "x"))).toBe("made-up: x");
  });
});

describe("the picture of the graph", () => {
  const kinds = ["user", "response", "commitment", "reflection", "identity", "event", "surprise"];
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const nodes: Node[] = Array.from({ length: 300 }, (_, index) => ({
    id: `n${index + 1}`,
    seq: index + 1,
    kind: index < 14 ? kinds[index % 7]! : kinds[random(7)]!,
    label: "",
  }));
  const edges: Edge[] = Array.from({ length: 500 }, () => {
    const [a, b] = [1 + random(300), 1 + random(300)];
    return { source: `n${a}`, kind: "references", target: `n${b}` };
  }).filter((edge) => edge.source !== edge.target);

  test("what is drawn never moves when the conversation goes on", () => {
    const whole = layout({ nodes, edges });
    for (const count of [20, 150, 299]) {
      const known = new Set(nodes.slice(0, count).map((node) => node.id));
      const part = layout({
        nodes: nodes.slice(0, count),
        edges: edges.filter((edge) => known.has(edge.source) && known.has(edge.target)),
      });
      expect(part.nodes).toEqual(whole.nodes.slice(0, count));
    }
  });

  test("no two nodes stand on each other, and all are inside", () => {
    const { nodes: placed, width, height } = layout({ nodes, edges });
    expect(new Set(placed.map((node) => `${node.x} ${node.y}`)).size).toBe(300);
    expect(placed.every((node) => node.x >= 0 && node.x < width && node.y + HEIGHT <= height)).toBe(true);
  });

  test("a reply stands beside its message, a promise beside its reply", () => {
    const { nodes: placed, lines } = layout({
      nodes: ["user", "response", "commitment", "user"].map((kind, index) => ({
        id: `n${index + 1}`,
        seq: index + 1,
        kind,
        label: "",
      })),
      edges: [
        { source: "n2", kind: "replies_to", target: "n1" },
        { source: "n2", kind: "commits_to", target: "n3" },
        { source: "n9", kind: "references", target: "n1" },
      ],
    });
    const [user, reply, promise, next] = placed.map((node) => node.y);
    expect([reply, promise]).toEqual([user, user]);
    expect(next).toBeGreaterThan(user!);
    expect(lines).toHaveLength(2); // an end that is not in the picture has no line
  });

  test("nothing is a picture too", () => {
    expect(layout({ nodes: [], edges: [] }).nodes).toEqual([]);
  });
});

describe("the bars of a trace", () => {
  const trace: Trace = {
    run: "run_a",
    user: 1,
    end: 2,
    steps: [
      { step: "user", seq: 1 },
      { step: "context" },
      { step: "generate" },
      { step: "continue" },
      { step: "response" },
    ],
    nodes: [],
    elapsed_ms: 100,
    durations_ms: [5, 40, 50],
  };

  test("measured steps follow each other on one scale", () => {
    const { bars, total } = barsOf(trace);
    expect(total).toBe(100);
    expect(bars.map((bar) => [bar.from, bar.ms])).toEqual([
      [undefined, undefined],
      [0, 5],
      [5, 40],
      [45, 50],
      [undefined, undefined],
    ]);
  });

  test("a turn that broke off has the bars it has", () => {
    const { bars, total } = barsOf({ ...trace, durations_ms: null, elapsed_ms: null });
    expect(total).toBe(1);
    expect(bars.every((bar) => bar.ms === undefined)).toBe(true);
  });

  test("a step says what is known of it", () => {
    expect(detailOf({ step: "context", seq: 4, messages: 3, characters: 1200, nodes: ["n1"] })).toBe(
      "3 messages · 1,200 characters · 1 node",
    );
    expect(detailOf({ step: "generate", characters: 9, finish_reason: "length" })).toBe("9 characters · length");
    expect(detailOf({ step: "generation-ended", seq: 2, outcome: "cancelled" })).toBe("cancelled · fact 2");
  });
});
