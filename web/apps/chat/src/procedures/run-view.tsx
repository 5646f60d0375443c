/** What a run did and does: its turns, questions and log lines in order, and how it ended. */

import type { HeadraceError } from "@headrace/client";
import { ProblemCard } from "../chat/problem-card.tsx";
import { cost, count, duration, UNKNOWN } from "../format.ts";
import { Markdown } from "../markdown/markdown.tsx";
import { visible } from "../markdown/render.tsx";
import type { Followed } from "../ui/use-run.ts";
import { wordsFor } from "../words.ts";
import type { Story } from "./api.ts";
import { AskCard } from "./ask-card.tsx";
import { entriesFrom, entriesOf } from "./entries.ts";
import { Figure, TurnCard } from "./turn-card.tsx";

export function RunLog(props: {
  readonly followed: Followed;
  /** The ledger's story, where the events are gone. */
  readonly story: Story | undefined;
  readonly onAnswer: (request: string, value: unknown) => Promise<void>;
  readonly onResume: () => void;
  readonly onLine: (line: number) => void;
}) {
  const { followed, story } = props;
  const { state, live } = followed;
  const entries = story === undefined ? entriesOf(state) : entriesFrom(story);
  return (
    <>
      {followed.connection === "retrying" && (
        <p className="note reconnecting" role="status">
          <i className="dot" /> The connection is gone; coming back to the same run…
        </p>
      )}
      {entries.map((entry) => {
        switch (entry.type) {
          case "turn":
            return <TurnCard key={entry.key} turn={entry} />;
          case "ask":
            return (
              <AskCard
                key={entry.key}
                ask={entry.ask}
                open={live || (story?.open.includes(entry.ask.request) ?? false)}
                onAnswer={(value) => props.onAnswer(entry.ask.request, value)}
              />
            );
          case "log":
            return (
              <p key={entry.key} className="log-line" data-level={entry.note.level}>
                {visible(entry.note.message)}
                {entry.note.data !== undefined && <code> {visible(JSON.stringify(entry.note.data))}</code>}
              </p>
            );
        }
      })}
      {live && state.status !== undefined && <p className="note">{visible(state.status.message)}</p>}
      {live && state.seq > 0 && entries.length === 0 && <p className="note">The program runs…</p>}
      {followed.error !== undefined && <Broken error={followed.error} onReattach={followed.reattach} />}
      {state.ended && <Ending {...props} />}
    </>
  );
}

function Ending({ followed, story, onResume, onLine }: Parameters<typeof RunLog>[0]) {
  const { state } = followed;
  const { error, outcome, usage } = state;
  const line = typeof error?.details?.["line"] === "number" ? error.details["line"] : undefined;
  const tokens = (value: number | null | undefined) =>
    value === undefined || value === null ? UNKNOWN : (usage?.basis === "estimated" ? "~" : "") + count(value);
  const waits = (story?.open.length ?? 0) > 0;
  return (
    <section className="ending" data-outcome={outcome} aria-label="Result">
      <header>
        <h3>{TITLES[outcome ?? "completed"]}</h3>
        <dl className="figures">
          <Figure name="Total cost" value={cost(state.cost, state.currency)} />
          <Figure
            name="Total tokens"
            value={`${tokens(usage?.input_tokens)} in, ${tokens(usage?.output_tokens)} out`}
          />
          <Figure name="Total duration" value={duration(state.elapsed_ms)} />
        </dl>
      </header>
      {outcome === "completed" && <Result value={state.result as unknown} />}
      {error !== undefined && error !== null && !waits && (
        <p className="ending-error">
          <code>{error.code}</code> {visible(error.message)}
        </p>
      )}
      <div className="row">
        {line !== undefined && (
          <button type="button" className="button small" onClick={() => onLine(line)}>
            Go to line {line}
          </button>
        )}
        {outcome !== "completed" && !waits && (
          <button type="button" className="button small" onClick={onResume}>
            Go on from here
          </button>
        )}
      </div>
      {waits && <p className="muted small">Answer the question above, and it goes on from there.</p>}
    </section>
  );
}

const TITLES = {
  completed: "Result",
  failed: "Failed",
  cancelled: "Stopped",
  interrupted: "The server stopped in the middle of this",
} as const;

/** The program's result; a table of texts is read as texts. */
function Result({ value }: { readonly value: unknown }) {
  if (value === undefined || value === null) return <p className="muted small">It returned nothing.</p>;
  if (typeof value === "string") return <Markdown text={value} done />;
  if (typeof value !== "object" || Array.isArray(value)) return <Json value={value} />;
  return (
    <dl className="result">
      {Object.entries(value).map(([name, item]) => (
        <div key={name}>
          <dt>{visible(name)}</dt>
          <dd>{typeof item === "string" ? <Markdown text={item} done /> : <Json value={item} />}</dd>
        </div>
      ))}
    </dl>
  );
}

function Json({ value }: { readonly value: unknown }) {
  return <pre className="json">{visible(JSON.stringify(value, null, 2) ?? "")}</pre>;
}

export function Broken({ error, onReattach }: { readonly error: HeadraceError; readonly onReattach?: () => void }) {
  return <ProblemCard words={wordsFor(error.code)} code={error.code} message={error.message} onReattach={onReattach} />;
}
