/** The memory graph as a picture: the last facts, or what is near to a topic; a node opens its fact. */

import { useEffect, useMemo, useRef, useState } from "react";
import { visible } from "../markdown/render.tsx";
import { go, usePlace } from "../router.ts";
import { Close } from "../ui/icons.tsx";
import * as api from "./api.ts";
import { HEIGHT, WIDTH, layout, type Placed } from "./graph-layout.ts";
import { FactWhole } from "./ledger-tab.tsx";
import { NodeLink, Nothing, Trouble, addressOf, type TabProps } from "./parts.tsx";
import { useView } from "./use-conversation.ts";

/** Nodes in the picture at most: of more, a page. */
const SHOWN = 150;
const NEAR = 24;
const ROOM = 23;
const SIDE = 20;

export function GraphTab({ conversation }: TabProps) {
  const { id, count } = conversation;
  const place = usePlace();
  const node = place.query.get("node") ?? undefined;
  const topic = place.query.get("topic") ?? "";
  const [typed, setTyped] = useState(topic);
  const [end, setEnd] = useState<number>(); // of the page; the newest without
  const picked = Number(node?.slice(1)) || undefined;
  const from = Math.max(0, Math.min(end ?? count, count) - SHOWN);
  const { value, error } = useView(
    count === 0 ? undefined : () => (topic === "" ? api.graph(id, from, SHOWN) : api.near(id, topic, NEAR)),
    `${id} ${count} ${from} ${topic}`,
  );
  const fact = useView(
    picked === undefined ? undefined : async () => (await api.facts(id, picked - 1, 1))[0],
    `${id} ${picked}`,
  ).value;
  useEffect(() => {
    // A node that another part of the page names, and that stands on another page of the picture.
    if (picked !== undefined && topic === "" && (picked <= from || picked > from + SHOWN) && count > 0)
      setEnd(Math.min(count, picked + SHOWN / 2));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [picked, count > 0]);
  const pick = (next: string | undefined) =>
    go(addressOf(id, "graph", { ...(topic === "" ? {} : { topic }), ...(next === undefined ? {} : { node: next }) }), {
      replace: true,
    });
  return (
    <section className="panel graph-panel" aria-label="Graph">
      <form
        className="tools"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          go(addressOf(id, "graph", typed.trim() === "" ? {} : { topic: typed.trim() }), { replace: true });
        }}
      >
        <input
          type="search"
          value={typed}
          maxLength={2_000}
          placeholder="What is near to a topic: plants, Friday …"
          aria-label="Topic"
          onChange={(event) => {
            setTyped(event.target.value);
            if (event.target.value === "" && topic !== "") go(addressOf(id, "graph"), { replace: true });
          }}
        />
        <button className="button">Find</button>
        <span className="muted small" role="status" data-seq={value?.seq}>
          {value === undefined
            ? ""
            : topic !== ""
              ? `${value.nodes.length} nodes near to this`
              : `After fact ${value.seq}: nodes ${from + 1} to ${from + value.nodes.length}`}
        </span>
        {topic === "" && count > SHOWN && (
          <span className="row">
            <button type="button" className="button small" disabled={from === 0} onClick={() => setEnd(from + 20)}>
              Earlier
            </button>
            <button
              type="button"
              className="button small"
              disabled={from + SHOWN >= count}
              onClick={() => setEnd(Math.min(count, from + 2 * SHOWN - 20))}
            >
              Later
            </button>
          </span>
        )}
      </form>
      {error !== undefined && <Trouble error={error} />}
      <div className="graph-columns">
        {value !== undefined && value.nodes.length > 0 && (
          <Picture graph={value} picked={node} atEnd={topic === "" && end === undefined} onPick={pick} />
        )}
        {count > 0 && value?.nodes.length === 0 && <Nothing>Nothing shares a word with this topic.</Nothing>}
        {count === 0 && <Nothing>The graph grows with the conversation.</Nothing>}
        {fact !== undefined && node !== undefined && (
          <aside className="graph-fact" aria-label="The node">
            <h3>
              <span className="fact-kind" data-kind={fact.kind}>
                {visible(fact.kind)}
              </span>{" "}
              {node}
              <button type="button" className="icon-button small" aria-label="Close" onClick={() => pick(undefined)}>
                <Close size={16} />
              </button>
            </h3>
            <ul className="links">
              {(value?.edges ?? []).flatMap((edge) =>
                edge.source === node || edge.target === node
                  ? [
                      <li key={`${edge.source} ${edge.kind} ${edge.target}`}>
                        {edge.source === node ? "this" : <NodeLink conversation={id} node={edge.source} />}{" "}
                        {edge.kind.replaceAll("_", " ")}{" "}
                        {edge.target === node ? "this" : <NodeLink conversation={id} node={edge.target} />}
                      </li>,
                    ]
                  : [],
              )}
            </ul>
            <FactWhole fact={fact} />
          </aside>
        )}
      </div>
    </section>
  );
}

function Picture(props: {
  readonly graph: api.Graph;
  readonly picked: string | undefined;
  /** Whether the newest node is to be in view. */
  readonly atEnd: boolean;
  readonly onPick: (node: string) => void;
}) {
  const { graph, picked, atEnd } = props;
  const picture = useMemo(() => layout(graph), [graph]);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const scroller = box.current;
    if (scroller === null) return;
    const node = picture.nodes.find((found) => found.id === picked);
    if (node !== undefined) {
      const hidden = node.y < scroller.scrollTop || node.y + HEIGHT > scroller.scrollTop + scroller.clientHeight;
      if (hidden) scroller.scrollTop = node.y - scroller.clientHeight / 2;
      const right = node.x + WIDTH + SIDE - scroller.scrollLeft - scroller.clientWidth;
      if (right > 0) scroller.scrollLeft += right;
      else if (node.x < scroller.scrollLeft) scroller.scrollLeft = node.x - SIDE;
    } else if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }, [picture, picked, atEnd]);
  const beside = new Set(
    graph.edges.flatMap(({ source, target }) => (source === picked || target === picked ? [source, target] : [])),
  );
  return (
    <div className="graph-box" ref={box}>
      <svg
        role="group"
        aria-label={`Memory graph of ${picture.nodes.length} nodes and ${picture.lines.length} edges`}
        width={picture.width}
        height={picture.height}
        viewBox={`0 0 ${picture.width} ${picture.height}`}
      >
        <defs>
          <marker id="memory-tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto">
            <path d="M0 1L7 4L0 7z" />
          </marker>
        </defs>
        {picture.lanes.map((lane) => (
          <text key={lane.kind} className="lane" x={lane.x + 4} y={20}>
            {LANE_NAMES[lane.kind]}
          </text>
        ))}
        {picture.lines.map((line) => (
          <path
            key={`${line.source} ${line.kind} ${line.target}`}
            className="memory-edge"
            data-kind={line.kind}
            data-lit={line.source === picked || line.target === picked}
            d={line.path}
            markerEnd="url(#memory-tip)"
          >
            <title>{`${line.source} ${line.kind.replaceAll("_", " ")} ${line.target}`}</title>
          </path>
        ))}
        {picture.nodes.map((node) => (
          <NodeBox
            key={node.id}
            node={node}
            lit={node.id === picked ? "picked" : beside.has(node.id) ? "beside" : "no"}
            onPick={props.onPick}
          />
        ))}
      </svg>
    </div>
  );
}

const LANE_NAMES: Readonly<Record<string, string>> = {
  user: "You",
  response: "Replies",
  commitment: "Promises",
  reflection: "Reflections",
  identity: "Identity",
  event: "Other",
};

function NodeBox(props: { readonly node: Placed; readonly lit: string; readonly onPick: (node: string) => void }) {
  const { node } = props;
  const label = visible(node.label);
  const text = [...label];
  const room = ROOM - node.id.length;
  return (
    <g
      className="memory-node"
      data-kind={node.kind}
      data-node={node.id}
      data-lit={props.lit}
      transform={`translate(${node.x} ${node.y})`}
      role="button"
      tabIndex={0}
      aria-label={`${node.id}, ${node.kind}: ${label}`}
      onClick={() => props.onPick(node.id)}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        props.onPick(node.id);
      }}
    >
      <title>{label}</title>
      <rect width={WIDTH} height={HEIGHT} rx={9} />
      <text x={10} y={21.5}>
        <tspan className="node-id">{node.id}</tspan>
        <tspan dx={6}>{text.length <= room ? label : `${text.slice(0, room - 1).join("")}…`}</tspan>
      </text>
    </g>
  );
}
