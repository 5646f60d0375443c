/** The two numbers and what they are made of; the state after any fact, and what changed between two. */

import { useEffect, useState } from "react";
import { visible } from "../markdown/render.tsx";
import { AnyValue } from "../ui/value-view.tsx";
import * as api from "./api.ts";
import { FactLink, Nothing, Panel, Trouble, type TabProps } from "./parts.tsx";
import { MirrorState, bothOf } from "./side-mirror.tsx";
import { useView } from "./use-conversation.ts";

/** Up to this many facts two states are compared unasked: the server makes an earlier one from the first fact on. */
const QUICK = 5_000;

export function MetricsTab({ conversation }: TabProps) {
  const { id, count } = conversation;
  const [until, setUntil] = useState<number>(); // the present without
  const [from, setFrom] = useState<number>(); // nothing has been chosen without
  const since = from ?? 0;
  const compared = count > 0 && (count <= QUICK || from !== undefined);
  const upper = Math.min(until ?? count, count);
  const lower = Math.min(since, upper);
  const settled = useSettled(`${lower} ${upper}`);
  const { value, error } = useView(
    count === 0 ? undefined : () => bothOf(id, upper === count ? undefined : upper),
    `${id} ${settled} ${count}`,
  );
  const difference = useView(
    compared ? () => api.diff(id, lower, upper) : undefined,
    `${id} ${settled} ${count} ${compared}`,
  ).value;
  if (count === 0) {
    return (
      <Panel name="Metrics">
        <Nothing>The numbers come with the first reply.</Nothing>
      </Panel>
    );
  }
  return (
    <Panel name="Metrics" wide>
      {error !== undefined && <Trouble error={error} />}
      <div className="states">
        <label>
          State as of fact <output>{upper}</output>
          <input
            type="range"
            aria-label="State as of fact"
            min={0}
            max={count}
            value={upper}
            onChange={(event) => {
              const next = event.target.valueAsNumber;
              setUntil(next === count ? undefined : next);
            }}
          />
        </label>
        <label>
          compared with fact <output>{lower}</output>
          <input
            type="range"
            aria-label="Compared with fact"
            min={0}
            max={upper}
            value={lower}
            onChange={(event) => setFrom(event.target.valueAsNumber)}
          />
        </label>
      </div>
      <div className="metrics-columns">
        <section className="card" aria-label="State">
          {value !== undefined && (
            <MirrorState id={id} mirror={value.mirror} metrics={value.metrics} open={Number.POSITIVE_INFINITY} />
          )}
        </section>
        <section className="card" aria-label="What changed">
          {difference !== undefined && <Changes id={id} diff={difference} />}
          {!compared && <p className="muted">Choose a fact above to compare with: this conversation is a long one.</p>}
        </section>
        {value !== undefined && <Rest id={id} mirror={value.mirror} />}
        <section className="card" aria-label="How they are made">
          <h3>How they are made</h3>
          <p className="small">
            <strong>IAS</strong>, identity stability, is 1 while nothing moves: 1 − drift, where each reply adds a tenth
            of what its trait steps moved and takes a tenth of the drift away.
          </p>
          <p className="small">
            <strong>GAS</strong>, growth, is half the share of promises kept, three tenths for reflections (one in ten
            replies is all of it) and two tenths for claims (ten are all of it).
          </p>
        </section>
      </div>
    </Panel>
  );
}

function Changes({ id, diff }: { readonly id: string; readonly diff: api.Diff }) {
  const { mirror, metrics } = diff;
  const lines: [string, string][] = [];
  const number = (value: number) => `${value > 0 ? "+" : ""}${Number(value.toFixed(3))}`;
  if (mirror.name !== undefined) lines.push(["name", `${mirror.name[0] || "none"} → ${mirror.name[1]}`]);
  for (const name of ["ias", "gas"] as const) {
    const moved = metrics.after[name] - metrics.before[name];
    if (moved !== 0) lines.push([name.toUpperCase(), `${number(moved)}, to ${metrics.after[name].toFixed(2)}`]);
  }
  for (const [trait, step] of Object.entries(mirror.traits ?? {})) lines.push([trait, number(step)]);
  if (mirror.opened !== undefined) lines.push(["promised", mirror.opened.join(", ")]);
  if (mirror.closed !== undefined) lines.push(["closed", mirror.closed.join(", ")]);
  for (const [kind, more] of Object.entries(mirror.counts ?? {})) lines.push([`facts: ${kind}`, number(more)]);
  lines.push(["graph", `+${diff.graph.nodes.length} nodes, +${diff.graph.edges.length} edges`]);
  return (
    <>
      <h3>
        What changed{" "}
        <small>
          from {diff.from === 0 ? "the beginning" : <FactLink conversation={id} seq={diff.from} />} to{" "}
          <FactLink conversation={id} seq={diff.to} />
        </small>
      </h3>
      <dl className="counts changes">
        {lines.map(([name, said]) => (
          <div key={name}>
            <dt>{visible(name)}</dt>
            <dd>{visible(said)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

/** What the mirror holds beside numbers and promises. */
function Rest({ id, mirror }: { readonly id: string; readonly mirror: api.Mirror }) {
  if (mirror.reflections.length + mirror.claims.length + mirror.directives.length === 0) return null;
  return (
    <section className="card" aria-label="What is known">
      {mirror.directives.length > 0 && (
        <>
          <h3>Directives</h3>
          <ul>
            {mirror.directives.map((said, index) => (
              <li key={index}>{visible(said)}</li>
            ))}
          </ul>
        </>
      )}
      {mirror.claims.length > 0 && (
        <>
          <h3>Claims</h3>
          <ul className="promises">
            {mirror.claims.map((claim) => (
              <li key={claim.seq}>
                <FactLink conversation={id} seq={claim.seq}>
                  {claim.type}
                </FactLink>{" "}
                <AnyValue value={claim.value} />
              </li>
            ))}
          </ul>
        </>
      )}
      {mirror.reflections.length > 0 && (
        <>
          <h3>Reflections</h3>
          <ul className="promises">
            {mirror.reflections.map((reflection) => (
              <li key={reflection.seq}>
                <FactLink conversation={id} seq={reflection.seq} /> {visible(reflection.text)}
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** The value when it has stood still for a moment: a slider asks once and not at every step. */
function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), 200);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
