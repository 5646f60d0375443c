/** The facts as they were written, byte for byte, and whether the chain of their hashes holds. */

import { useEffect, useRef, useState } from "react";
import { visible } from "../markdown/render.tsx";
import { go, usePlace } from "../router.ts";
import { CopyButton } from "../ui/copy.tsx";
import { Check, Warning } from "../ui/icons.tsx";
import { AnyValue } from "../ui/value-view.tsx";
import * as api from "./api.ts";
import { FactLink, Nothing, Panel, Trouble, addressOf, clock, type TabProps } from "./parts.tsx";
import { asHeadrace, useView } from "./use-conversation.ts";

const PAGE = 100;
const MOST = 1_000;
const PREVIEW = 220;
/** Problems that are named; a damaged ledger may have any number. */
const LISTED = 50;
const KINDS = [
  "user",
  "response",
  "generation-ended",
  "commitment",
  "commitment-closed",
  "claim",
  "reflection",
  "trait",
  "identity",
  "directive",
  "event",
] as const;

export function LedgerTab({ conversation }: TabProps) {
  const { id, count } = conversation;
  const asked = Number(usePlace().query.get("fact") ?? "") || undefined;
  const [kind, setKind] = useState("");
  const [text, setText] = useState("");
  const [limit, setLimit] = useState(PAGE);
  // A search looks through as many as are ever shown.
  const wanted = text.trim() === "" ? limit : MOST;
  const { value, error } = useView(
    () => loaded(id, { kind, wanted, asked, count }),
    `${id} ${count} ${kind} ${wanted} ${asked}`,
  );
  const facts = value ?? [];
  const found = facts.filter((fact) => fact.content.toLocaleLowerCase().includes(text.trim().toLocaleLowerCase()));
  return (
    <Panel name="Ledger" wide>
      <div className="tools">
        <select aria-label="Kind" value={kind} onChange={(event) => setKind(event.target.value)}>
          <option value="">All kinds</option>
          {KINDS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <input
          type="search"
          value={text}
          placeholder="Find in the text"
          aria-label="Find in the text"
          onChange={(event) => setText(event.target.value)}
        />
        <Verify id={id} />
      </div>
      {error !== undefined && <Trouble error={error} />}
      <p className="muted small" role="status">
        {found.length} of the {asked === undefined ? "last" : ""} {facts.length}{" "}
        {kind === "" ? "facts" : `facts of kind ${kind}`}, newest first; the conversation has{" "}
        {count.toLocaleString("en-US")}.
      </p>
      {found.length > 0 && (
        <table className="facts">
          <thead>
            <tr>
              <th scope="col">Fact</th>
              <th scope="col">Kind</th>
              <th scope="col">Content</th>
              <th scope="col">Time</th>
              <th scope="col">Hash</th>
            </tr>
          </thead>
          <tbody>
            {found.toReversed().map((fact) => (
              <FactRow key={fact.seq} id={id} fact={fact} open={fact.seq === asked} />
            ))}
          </tbody>
        </table>
      )}
      {facts.length >= limit && limit < MOST && facts[0]?.seq !== 1 && (
        <button type="button" className="button" onClick={() => setLimit(Math.min(MOST, limit + 3 * PAGE))}>
          Show earlier facts
        </button>
      )}
      {limit >= MOST && facts[0] !== undefined && facts[0].seq > 1 && (
        <Nothing>
          Earlier facts: <FactLink conversation={id} seq={Math.max(1, facts[0].seq - 1)} />
        </Nothing>
      )}
      {value !== undefined && facts.length === 0 && <Nothing>No such facts.</Nothing>}
    </Panel>
  );
}

/** The last facts; or, where one is asked for that is not among them, those around it. */
async function loaded(
  id: string,
  wanted: {
    readonly kind: string;
    readonly wanted: number;
    readonly asked: number | undefined;
    readonly count: number;
  },
): Promise<readonly api.Fact[]> {
  const { kind, asked, count } = wanted;
  if (count === 0) return [];
  if (asked !== undefined && kind === "" && count - asked >= wanted.wanted)
    return api.facts(id, Math.max(0, asked - PAGE / 2), wanted.wanted);
  return api.tail(id, wanted.wanted, { kind: kind === "" ? undefined : kind });
}

function FactRow(props: { readonly id: string; readonly fact: api.Fact; readonly open: boolean }) {
  const { fact, id, open } = props;
  const row = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (open) row.current?.scrollIntoView({ block: "nearest" });
  }, [open]);
  const toggle = () => go(addressOf(id, "ledger", open ? {} : { fact: fact.seq }), { replace: true });
  const short = visible(fact.content.slice(0, PREVIEW).replace(/\s+/g, " "));
  return (
    <>
      <tr ref={row} data-kind={fact.kind} data-open={open} onClick={toggle}>
        <td>
          <button
            type="button"
            className="link"
            aria-expanded={open}
            aria-label={`Fact ${fact.seq}`}
            onClick={(event) => {
              event.stopPropagation();
              toggle();
            }}
          >
            {fact.seq}
          </button>
        </td>
        <td>
          <span className="fact-kind" data-kind={fact.kind}>
            {visible(fact.kind)}
          </span>
        </td>
        <td className="content">{short === "" ? <i className="muted">no text</i> : short}</td>
        <td>{clock(fact.time)}</td>
        <td>
          <code title={fact.hash}>{fact.hash.slice(0, 8)}</code>
        </td>
      </tr>
      {open && (
        <tr className="fact-whole">
          <td colSpan={5}>
            <FactWhole fact={fact} />
          </td>
        </tr>
      )}
    </>
  );
}

/** Everything a fact has. */
export function FactWhole({ fact }: { readonly fact: api.Fact }) {
  return (
    <div className="fact">
      <div className="fact-text">
        <pre>{visible(fact.content)}</pre>
        <CopyButton text={fact.content} label="Copy the text" />
      </div>
      {Object.keys(fact.meta).length > 0 && (
        <details className="fact-meta">
          <summary>Meta</summary>
          <AnyValue value={fact.meta} />
        </details>
      )}
      <dl>
        <dt>id</dt>
        <dd>{visible(fact.id)}</dd>
        <dt>time</dt>
        <dd>{fact.time}</dd>
        <dt>hash</dt>
        <dd>{fact.hash}</dd>
        <dt>before</dt>
        <dd>{fact.prev_hash}</dd>
      </dl>
    </div>
  );
}

function Verify({ id }: { readonly id: string }) {
  const [state, setState] = useState<{
    readonly of?: string;
    readonly found?: api.Verified;
    readonly error?: string;
  }>();
  const verify = (of: string, asked: () => Promise<api.Verified>) => {
    setState({ of });
    asked().then(
      (found) => setState({ of, found }),
      (error: unknown) => setState({ of, error: asHeadrace(error).message }),
    );
  };
  const running = state !== undefined && state.found === undefined && state.error === undefined;
  const found = state?.found;
  const problems = (found?.problems.length ?? 0) + (found?.more ?? 0);
  return (
    <>
      <button
        type="button"
        className="button primary"
        disabled={running}
        onClick={() => verify("this conversation", () => api.verify(id))}
      >
        Verify
      </button>
      <button
        type="button"
        className="button"
        disabled={running}
        title="Every conversation of the server"
        onClick={() => verify("the whole ledger", api.verifyAll)}
      >
        Verify all
      </button>
      {state !== undefined && (
        <div className="verified" role="status" data-ok={found?.ok ?? (state.error === undefined ? undefined : false)}>
          {running && <p>Every hash of {state.of} is being recomputed…</p>}
          {state.error !== undefined && <p>It could not be verified: {visible(state.error)}</p>}
          {found?.ok === true && (
            <p>
              <Check size={16} /> Intact: every hash of {state.of} is as it was written
              {found.facts === undefined ? "" : ` (${found.facts.toLocaleString("en-US")} facts)`}.{" "}
              <code title={found.hash ?? found.head}>{(found.hash ?? found.head ?? "").slice(0, 12)}</code>
            </p>
          )}
          {found?.ok === false && (
            <>
              <p>
                <Warning size={16} /> Damaged: {problems} {problems === 1 ? "problem" : "problems"} in {state.of}.
              </p>
              <ul>
                {found.problems.slice(0, LISTED).map((problem, index) => (
                  <li key={index}>
                    {problem.conversation !== "" && problem.conversation !== id && (
                      <code>{visible(problem.conversation)} </code>
                    )}
                    {problem.seq > 0 && problem.conversation !== "" && (
                      <FactLink conversation={problem.conversation} seq={problem.seq} />
                    )}{" "}
                    {visible(problem.what)}
                  </li>
                ))}
                {problems > LISTED && <li>and {problems - LISTED} more</li>}
              </ul>
            </>
          )}
        </div>
      )}
    </>
  );
}
