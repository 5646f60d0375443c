/** The graph of a template as a picture: inputs at the left, then segments as they can run; live while one runs. */

import type { SlotState } from "@headrace/client";
import { useMemo } from "react";
import { visible } from "../markdown/render.tsx";
import { layout, parseGraph, type Placed } from "./graph.ts";

export function GraphView({ mermaid, slots }: { readonly mermaid: string; readonly slots: readonly SlotState[] }) {
  const picture = useMemo(() => layout(parseGraph(mermaid)), [mermaid]);
  const words = picture.lines.map((line) => `${nameOf(picture.nodes, line.from)} to ${nameOf(picture.nodes, line.to)}`);
  return (
    <div className="graph">
      <svg
        role="img"
        aria-label={`Graph of the template. ${words.join("; ") || "Nothing waits for anything."}`}
        width={picture.width}
        height={picture.height}
        viewBox={`0 0 ${picture.width} ${picture.height}`}
      >
        <defs>
          <marker id="graph-tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">
            <path d="M0 0.500L7 4L0 7.500z" />
          </marker>
        </defs>
        {picture.lines.map((line) => (
          <path key={`${line.from} ${line.to}`} className="graph-line" d={line.path} markerEnd="url(#graph-tip)" />
        ))}
        {picture.nodes.map((node) => (
          <Node key={node.id} node={node} slots={slots} />
        ))}
        {picture.lines.map(
          (line) =>
            line.label !== "" && (
              <text key={`${line.from} ${line.to}`} className="graph-label" x={line.x} y={line.y - 4}>
                {cut(visible(line.label), 16)}
              </text>
            ),
        )}
      </svg>
    </div>
  );
}

function Node({ node, slots }: { readonly node: Placed; readonly slots: readonly SlotState[] }) {
  const segment = node.kind === "segment" ? Number(node.id.slice(1)) : -1;
  const mine = slots.filter((slot) => slot.segment === segment);
  const state = mine.some((slot) => slot.status === "failed")
    ? "failed"
    : mine.some((slot) => slot.status === "asking" || slot.status === "writing")
      ? "live"
      : mine.length > 0 &&
          mine.every((slot) => slot.status === "done") &&
          node.rows.every((row) => mine.some((slot) => slot.key === row.name))
        ? "done"
        : mine.length > 0 && slots.every((slot) => slot.status !== "asking" && slot.status !== "writing")
          ? "done"
          : "idle";
  const room = Math.floor((node.width - 24) / 7.2);
  return (
    <g className="graph-node" data-kind={node.kind} data-state={state} transform={`translate(${node.x} ${node.y})`}>
      <title>{visible(node.title)}</title>
      <rect width={node.width} height={node.height} rx={node.kind === "variable" ? node.height / 2 : 10} />
      <text className="graph-title" x={12} y={node.rows.length === 0 ? node.height / 2 + 4.5 : 20}>
        {cut(visible(node.title), room)}
      </text>
      {node.rows.map((row, index) => (
        <g key={index} data-slot={mine.find((slot) => slot.key === row.name)?.status ?? "idle"}>
          <text x={12} y={40 + index * 19}>
            {cut(visible(row.name), room - row.type.length - 1)}
          </text>
          <text className="graph-type" x={node.width - 12} y={40 + index * 19}>
            {visible(row.type)}
          </text>
        </g>
      ))}
    </g>
  );
}

function nameOf(nodes: readonly Placed[], id: string): string {
  return visible(nodes.find((node) => node.id === id)?.title ?? id);
}

function cut(text: string, room: number): string {
  return text.length <= room ? text : `${text.slice(0, Math.max(1, room - 1))}…`;
}
