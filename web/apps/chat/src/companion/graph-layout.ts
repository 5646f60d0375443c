/**
 * Where the nodes of the memory graph stand: a lane a kind, and downwards in the order of their facts.
 *
 * A node's row is that of the node it hangs on where its lane is free there, else the next free one; a message of the
 * user begins a row below everything. So a node's place hangs only on those before it: what is drawn never moves when
 * the conversation goes on. Pure.
 */

import type { Edge, Graph, Node } from "./api.ts";

export const WIDTH = 172;
export const HEIGHT = 34;
const ACROSS = WIDTH + 44;
const DOWN = HEIGHT + 12;
const TOP = 34;
const SIDE = 14;

const LANES = ["user", "response", "commitment", "reflection", "identity", "event"] as const;
type Lane = (typeof LANES)[number];

export interface Placed extends Node {
  readonly x: number;
  readonly y: number;
}

export interface Line extends Edge {
  readonly path: string;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly lanes: readonly { readonly kind: string; readonly x: number }[];
  readonly nodes: readonly Placed[];
  readonly lines: readonly Line[];
}

export function layout(graph: Pick<Graph, "nodes" | "edges">): Picture {
  const ordered = [...graph.nodes].sort((a, b) => a.seq - b.seq);
  const lanes = LANES.filter(
    (lane) => lane === "user" || lane === "response" || ordered.some((n) => laneOf(n) === lane),
  );
  const older = new Map<string, string[]>(); // a node, to the nodes before it that it is linked to
  for (const { source, target } of graph.edges) {
    const [young, old] = seqOf(source) > seqOf(target) ? [source, target] : [target, source];
    older.set(young, [...(older.get(young) ?? []), old]);
  }
  const rows = new Map<string, number>();
  const free = new Map<string, number>();
  let below = 0;
  const placed = ordered.map((node): Placed => {
    const lane = laneOf(node);
    const hangsOn = (older.get(node.id) ?? []).map((id) => rows.get(id)).find((row) => row !== undefined);
    const wanted = lane === "user" ? below : (hangsOn ?? Math.max(0, below - 1));
    const row = Math.max(wanted, free.get(lane) ?? 0);
    rows.set(node.id, row);
    free.set(lane, row + 1);
    below = Math.max(below, row + 1);
    return { ...node, x: SIDE + lanes.indexOf(lane) * ACROSS, y: TOP + row * DOWN };
  });
  const found = new Map(placed.map((node) => [node.id, node]));
  const lines = graph.edges.flatMap((edge): Line[] => {
    const [from, to] = [found.get(edge.source), found.get(edge.target)];
    return from === undefined || to === undefined ? [] : [{ ...edge, path: between(from, to) }];
  });
  return {
    width: 2 * SIDE + (lanes.length - 1) * ACROSS + WIDTH,
    height: TOP + below * DOWN + 4,
    lanes: lanes.map((kind, index) => ({ kind, x: SIDE + index * ACROSS })),
    nodes: placed,
    lines,
  };
}

/** A curve from side to side; within a lane, around the right. */
function between(from: Placed, to: Placed): string {
  const [y1, y2] = [from.y + HEIGHT / 2, to.y + HEIGHT / 2];
  if (from.x === to.x) {
    const x = from.x + WIDTH;
    return `M${x} ${y1}C${x + 30} ${y1} ${x + 30} ${y2} ${x + 3} ${y2}`;
  }
  const right = to.x > from.x;
  const x1 = right ? from.x + WIDTH : from.x;
  const x2 = right ? to.x - 3 : to.x + WIDTH + 3;
  const half = (x1 + x2) / 2;
  return `M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}`;
}

function laneOf(node: Node): Lane {
  return LANES.find((lane) => lane === node.kind) ?? "event";
}

function seqOf(id: string): number {
  return Number(id.slice(1));
}
