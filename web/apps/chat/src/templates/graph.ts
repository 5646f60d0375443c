/**
 * The graph of a template as places on a plane: what waits for what, from left to right in time.
 *
 * `parseGraph` reads the Mermaid text that the server writes (`templates.plan.graph`), and nothing more of
 * Mermaid than that; `layout` gives each node a column after all it needs, orders columns so that few lines
 * cross, and says how the lines run. Pure; `graph-view.tsx` draws it.
 */

export interface GraphNode {
  readonly id: string;
  readonly kind: "variable" | "segment";
  readonly title: string;
  /** The slots of a segment. */
  readonly rows: readonly { readonly name: string; readonly type: string }[];
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
}

export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

export interface Placed extends GraphNode {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Line extends GraphEdge {
  readonly path: string;
  readonly x: number;
  readonly y: number;
}

export interface Picture {
  readonly nodes: readonly Placed[];
  readonly lines: readonly Line[];
  readonly width: number;
  readonly height: number;
}

const NODE = /^\s*([vs]\d+)(?:\(\["(.*)"\]\)|\["(.*)"\])$/;
const EDGE = /^\s*([vs]\d+) -->(?:\|(.*)\|)? ([vs]\d+)$/;

export function parseGraph(mermaid: string): Graph {
  const nodes: GraphNode[] = [];
  const edges: GraphEdge[] = [];
  for (const line of mermaid.split("\n")) {
    const node = NODE.exec(line);
    if (node !== null) {
      const [title = "", ...rows] = (node[2] ?? node[3] ?? "").split("<br/>");
      nodes.push({
        id: node[1]!,
        kind: node[2] === undefined ? "segment" : "variable",
        title: unescape(title),
        rows: rows.map((row) => {
          const [name = "", type = ""] = row.split(": ");
          return { name: unescape(name), type: unescape(type) };
        }),
      });
      continue;
    }
    const edge = EDGE.exec(line);
    if (edge !== null) edges.push({ from: edge[1]!, to: edge[3]!, label: unescape(edge[2] ?? "") });
  }
  return { nodes, edges };
}

const ENTITIES: Readonly<Record<string, string>> = { "&quot;": '"', "&lt;": "<", "&#124;": "|", "&amp;": "&" };

function unescape(text: string): string {
  return text.replace(/&(?:quot|lt|#124|amp);/g, (entity) => ENTITIES[entity]!);
}

const CHARACTER = 7.2;
const WIDEST = 230;
const ROW = 19;
const HEAD = 26;
const GAP_X = 74;
const GAP_Y = 18;
const EDGE_OF_PICTURE = 10;

export function layout(graph: Graph): Picture {
  const known = new Map(graph.nodes.map((node) => [node.id, node]));
  const edges = graph.edges.filter((edge) => known.has(edge.from) && known.has(edge.to));
  const columns = inColumns(graph.nodes, edges);
  const placed = new Map<string, Placed>();
  let x = EDGE_OF_PICTURE;
  const heights = columns.map((column) => column.reduce((sum, node) => sum + heightOf(node) + GAP_Y, -GAP_Y));
  const tallest = Math.max(0, ...heights);
  columns.forEach((column, index) => {
    const width = Math.max(...column.map(widthOf));
    let y = EDGE_OF_PICTURE + (tallest - heights[index]!) / 2;
    for (const node of column) {
      const height = heightOf(node);
      placed.set(node.id, { ...node, x, y, width, height });
      y += height + GAP_Y;
    }
    x += width + GAP_X;
  });
  return {
    nodes: [...placed.values()],
    lines: edges.map((edge) => lineOf(edge, placed)),
    width: Math.max(0, x - GAP_X + EDGE_OF_PICTURE),
    height: tallest + 2 * EDGE_OF_PICTURE,
  };
}

/** Each node one column after the last it needs; inside a column near to what it needs. */
function inColumns(nodes: readonly GraphNode[], edges: readonly GraphEdge[]): GraphNode[][] {
  const needs = new Map(nodes.map((node) => [node.id, edges.filter((edge) => edge.to === node.id)]));
  const depth = new Map<string, number>();
  const depthOf = (id: string, seen: ReadonlySet<string>): number => {
    const found = depth.get(id);
    if (found !== undefined) return found;
    // The server's graphs have no circles; a line that made one would be passed over.
    const before = needs.get(id)!.filter((edge) => !seen.has(edge.from));
    const made = Math.max(-1, ...before.map((edge) => depthOf(edge.from, new Set([...seen, id])))) + 1;
    depth.set(id, made);
    return made;
  };
  // Segments stand right of all variables, also those that need none.
  const shift = nodes.some((node) => node.kind === "variable") ? 1 : 0;
  const columns: GraphNode[][] = [];
  for (const node of nodes) {
    const own = depthOf(node.id, new Set());
    const column = node.kind === "variable" ? 0 : Math.max(own, shift);
    (columns[column] ??= []).push(node);
  }
  const filled = Array.from(columns, (column) => column ?? []).filter((column) => column.length > 0);
  const rank = new Map<string, number>();
  for (const column of filled) {
    const middle = (node: GraphNode, index: number) => {
      const before = needs
        .get(node.id)!
        .map((edge) => rank.get(edge.from))
        .filter((value) => value !== undefined);
      return before.length === 0
        ? index / column.length
        : before.reduce((sum, value) => sum + value, 0) / before.length;
    };
    const order = new Map(column.map((node, index) => [node.id, middle(node, index)]));
    column.sort((a, b) => order.get(a.id)! - order.get(b.id)!);
    column.forEach((node, index) => rank.set(node.id, (index + 0.5) / column.length));
  }
  return filled;
}

function widthOf(node: GraphNode): number {
  const longest = Math.max(node.title.length, ...node.rows.map((row) => row.name.length + row.type.length + 3));
  return Math.min(WIDEST, Math.max(96, longest * CHARACTER + 28));
}

function heightOf(node: GraphNode): number {
  return node.rows.length === 0 ? HEAD + 8 : HEAD + node.rows.length * ROW + 12;
}

function lineOf(edge: GraphEdge, placed: ReadonlyMap<string, Placed>): Line {
  const from = placed.get(edge.from)!;
  const to = placed.get(edge.to)!;
  const x1 = from.x + from.width;
  const y1 = from.y + from.height / 2;
  const x2 = to.x - 3;
  const y2 = to.y + to.height / 2;
  const bend = Math.max(24, (x2 - x1) / 2);
  const path = `M${n(x1)} ${n(y1)}C${n(x1 + bend)} ${n(y1)} ${n(x2 - bend)} ${n(y2)} ${n(x2)} ${n(y2)}`;
  // A label stands in the gap before its end: a line that passes other columns is over them in the middle.
  return { ...edge, path, x: x2 - GAP_X / 2, y: y2 + (y1 - y2) * (x2 - x1 > GAP_X ? 0.12 : 0.5) };
}

function n(value: number): string {
  return value.toFixed(1);
}
