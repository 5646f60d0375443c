/** What each turn did: its steps as bars, the nodes of memory it looked at, how it ended. */

import { duration } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import * as api from "./api.ts";
import { barsOf, detailOf } from "./bars.ts";
import { FactLink, NodeLink, Nothing, Panel, Trouble, type TabProps } from "./parts.tsx";
import { useView } from "./use-conversation.ts";

const TURNS = 20;
const NODES = 24;

export function TracesTab({ conversation }: TabProps) {
  const { id, count, facts } = conversation;
  const { value, error } = useView(count === 0 ? undefined : () => api.traces(id, TURNS), `${id} ${count}`);
  const said = new Map(facts.map((fact) => [fact.seq, fact.content]));
  return (
    <Panel name="Traces">
      {error !== undefined && <Trouble error={error} />}
      {(value ?? []).toReversed().map((trace) => (
        <TraceCard key={trace.run} id={id} trace={trace} text={said.get(trace.user)} />
      ))}
      {(count === 0 || value?.length === 0) && <Nothing>Each turn leaves a trace here.</Nothing>}
    </Panel>
  );
}

function TraceCard(props: { readonly id: string; readonly trace: api.Trace; readonly text: string | undefined }) {
  const { id, trace } = props;
  const { bars, total } = barsOf(trace);
  const nodes = [...new Set(trace.nodes)];
  return (
    <article className="card trace" aria-label={`Turn of fact ${trace.user}`}>
      <header>
        <h3>{visible((props.text ?? "").slice(0, 120)) || `Fact ${trace.user}`}</h3>
        <span className="badge" data-outcome={trace.outcome ?? "live"}>
          {trace.outcome ?? "running"}
        </span>
      </header>
      <p className="muted small">
        <FactLink conversation={id} seq={trace.user} />
        {typeof trace.end === "number" && (
          <>
            {" → "}
            <FactLink conversation={id} seq={trace.end} />
          </>
        )}
        {" · "}
        {duration(trace.elapsed_ms ?? undefined)}
        {typeof trace.first_token_ms === "number" && ` · first token after ${duration(trace.first_token_ms)}`}
      </p>
      <ol className="steps">
        {bars.map((bar, index) => (
          <li key={index} data-step={bar.step.step}>
            <span className="step-name">{visible(bar.step.step)}</span>
            <span className="step-bar">
              {bar.ms !== undefined && bar.from !== undefined && (
                <i style={{ left: `${(bar.from / total) * 100}%`, width: `${(bar.ms / total) * 100}%` }} />
              )}
            </span>
            <span className="step-time">{bar.ms === undefined ? "" : fine(bar.ms)}</span>
            <span className="step-detail muted">{visible(detailOf(bar.step))}</span>
          </li>
        ))}
      </ol>
      {nodes.length > 0 && (
        <p className="nodes small">
          <span className="muted">Nodes in the context:</span>{" "}
          {nodes.slice(0, NODES).map((node) => (
            <NodeLink key={node} conversation={id} node={node} />
          ))}
          {nodes.length > NODES && ` and ${nodes.length - NODES} more`}
        </p>
      )}
    </article>
  );
}

/** Steps of memory take less than a millisecond: that is worth seeing. */
function fine(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : duration(ms);
}
