/** What was promised: open ones, oldest first, and those kept last. */

import { visible } from "../markdown/render.tsx";
import * as api from "./api.ts";
import { FactLink, Nothing, Panel, Trouble, type TabProps } from "./parts.tsx";
import { useView } from "./use-conversation.ts";

export function CommitmentsTab({ conversation }: TabProps) {
  const { id, count } = conversation;
  const { value, error } = useView(count === 0 ? undefined : () => api.mirror(id), `${id} ${count}`);
  const open = value?.open ?? [];
  const closed = (value?.closed ?? []).toReversed();
  return (
    <Panel name="Commitments">
      {error !== undefined && <Trouble error={error} />}
      <section aria-label="Open">
        <h2>
          Open <small>{open.length}</small>
        </h2>
        <ul className="cards">
          {open.map((made) => (
            <Promise key={made.id} id={id} made={made} />
          ))}
        </ul>
        {open.length === 0 && <Nothing>Nothing is promised. A reply promises with a line “COMMIT: …”.</Nothing>}
      </section>
      <section aria-label="Closed">
        <h2>
          Closed <small>{closed.length === 50 ? "the last 50" : closed.length}</small>
        </h2>
        <ul className="cards">
          {closed.map((made) => (
            <Promise key={made.id} id={id} made={made} />
          ))}
        </ul>
        {closed.length === 0 && <Nothing>None yet.</Nothing>}
      </section>
    </Panel>
  );
}

function Promise({ id, made }: { readonly id: string; readonly made: api.Commitment }) {
  return (
    <li className="card promise" data-closed={typeof made.closed === "number"}>
      <span className="fact-kind" data-kind="commitment">
        {made.id}
      </span>
      <p>{visible(made.text)}</p>
      <small className="muted">
        <FactLink conversation={id} seq={made.seq}>
          promised in fact {made.seq}
        </FactLink>
        {typeof made.closed === "number" && (
          <>
            {", "}
            <FactLink conversation={id} seq={made.closed}>
              closed in fact {made.closed}
            </FactLink>
          </>
        )}
      </small>
    </li>
  );
}
