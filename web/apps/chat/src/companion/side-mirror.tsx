/** The mirror at the side: who the assistant is by now, in numbers and promises. */

import { visible } from "../markdown/render.tsx";
import * as api from "./api.ts";
import { FactLink, Meter } from "./parts.tsx";
import { useView, type Conversation } from "./use-conversation.ts";

const OPEN = 5;

export function SideMirror({ conversation }: { readonly conversation: Conversation }) {
  const { id, count } = conversation;
  const { value } = useView(() => bothOf(id), `${id} ${count}`);
  if (value === undefined) return <aside className="side-mirror" aria-label="Mirror" />;
  return (
    <aside className="side-mirror" aria-label="Mirror">
      <MirrorState id={id} mirror={value.mirror} metrics={value.metrics} open={OPEN} />
    </aside>
  );
}

export async function bothOf(id: string, asOf?: number) {
  const [mirror, metrics] = await Promise.all([api.mirror(id, asOf), api.metrics(id, asOf)]);
  return { mirror, metrics };
}

export function MirrorState(props: {
  readonly id: string;
  readonly mirror: api.Mirror;
  readonly metrics: api.Metrics;
  /** Open commitments to list at most. */
  readonly open: number;
}) {
  const { id, mirror, metrics } = props;
  const open = mirror.open.slice(-props.open);
  return (
    <>
      <p className="as-of" data-seq={mirror.seq}>
        After <FactLink conversation={id} seq={mirror.seq} />
        {mirror.name !== "" && (
          <>
            : <strong>{visible(mirror.name)}</strong>
          </>
        )}
      </p>
      <div className="meters">
        <Meter name="IAS" value={metrics.ias} title="Identity stability: 1 while nothing moves" />
        <Meter name="GAS" value={metrics.gas} title="Growth: promises kept, reflections, claims" />
      </div>
      <h3>Traits</h3>
      <div className="meters small">
        {Object.entries(mirror.traits).map(([trait, value]) => (
          <Meter key={trait} name={trait} value={value} />
        ))}
      </div>
      <h3>
        Promises{" "}
        <small>
          {metrics.commitments.open} open, {metrics.commitments.closed} kept
        </small>
      </h3>
      {open.length === 0 ? (
        <p className="muted small">None is open.</p>
      ) : (
        <ul className="promises">
          {open.map((made) => (
            <li key={made.id}>
              <FactLink conversation={id} seq={made.seq}>
                {made.id}
              </FactLink>{" "}
              {visible(made.text)}
            </li>
          ))}
        </ul>
      )}
      <h3>Facts</h3>
      <dl className="counts">
        {Object.entries(mirror.counts).map(([kind, number]) => (
          <div key={kind}>
            <dt>{visible(kind)}</dt>
            <dd>{number.toLocaleString("en-US")}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}
