/** A question of the program's, answered where it stands: approve, input, select, review; notify is only read. */

import type { HumanAsk } from "@headrace/client";
import { useState } from "react";
import { seconds } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { useNow } from "../ui/hooks.ts";

export function AskCard(props: {
  readonly ask: HumanAsk;
  /** Whether an answer still counts. */
  readonly open: boolean;
  readonly onAnswer: (value: unknown) => Promise<void>;
}) {
  const { ask, open } = props;
  const [sent, setSent] = useState(false);
  const [problem, setProblem] = useState<string>();
  const answer = (value: unknown) => {
    setSent(true);
    setProblem(undefined);
    props.onAnswer(value).catch((error: Error) => {
      setSent(false);
      setProblem(error.message);
    });
  };
  if (ask.kind === "notify")
    return (
      <p className="log-line" data-level="info">
        {visible(ask.message)}
      </p>
    );
  return (
    <section className="human ask" aria-label="The program asks you" data-open={open && !ask.answered}>
      <p>{visible(ask.message || "The program waits for you.")}</p>
      {ask.answered ? (
        <p className="muted small">
          {ask.value === undefined || ask.value === null ? "Nobody answered." : `Answered: ${visible(say(ask.value))}`}
        </p>
      ) : open ? (
        <>
          <Answers ask={ask} busy={sent} onAnswer={answer} />
          <Left ask={ask} />
        </>
      ) : (
        <p className="muted small">Not answered.</p>
      )}
      {problem !== undefined && <p className="problem-text">{problem}</p>}
    </section>
  );
}

function Answers({
  ask,
  busy,
  onAnswer,
}: {
  readonly ask: HumanAsk;
  readonly busy: boolean;
  readonly onAnswer: (value: unknown) => void;
}) {
  const [text, setText] = useState(typeof ask.default === "string" && ask.kind === "input" ? ask.default : "");
  const button = (name: string, value: unknown, kind = "") => (
    <button key={name} type="button" className={`button ${kind}`} disabled={busy} onClick={() => onAnswer(value)}>
      {visible(name)}
    </button>
  );
  switch (ask.kind) {
    case "approve":
      return (
        <div className="row">
          {button("Approve", true, "primary")}
          {button("Reject", false)}
        </div>
      );
    case "select":
      return <div className="row">{(ask.options ?? []).map((option) => button(say(option), option))}</div>;
    case "review":
      return (
        <div className="review">
          <textarea
            aria-label="Your version"
            rows={3}
            placeholder="Your version, if you edit it"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <div className="row">
            {button("Approve", { decision: "approve" }, "primary")}
            {button("Reject", { decision: "reject" })}
            <button
              type="button"
              className="button"
              disabled={busy || text === ""}
              onClick={() => onAnswer({ decision: "edit", value: text })}
            >
              Send my version
            </button>
          </div>
        </div>
      );
    default:
      return (
        <form
          className="row"
          onSubmit={(event) => {
            event.preventDefault();
            onAnswer(text);
          }}
        >
          <input value={text} onChange={(event) => setText(event.target.value)} aria-label="Your answer" />
          <button className="button primary" disabled={busy}>
            Answer
          </button>
        </form>
      );
  }
}

function Left({ ask }: { readonly ask: HumanAsk }) {
  const until = ask.deadline === undefined ? NaN : Date.parse(ask.deadline);
  const now = useNow(!Number.isNaN(until), 1_000);
  if (Number.isNaN(until)) return null;
  const then = ask.default === undefined ? "the run fails" : `the answer is ${say(ask.default)}`;
  return (
    <p className="muted small">
      In {seconds(until - now)} {then}.
    </p>
  );
}

function say(value: unknown): string {
  if (value === true) return "Approve";
  if (value === false) return "Reject";
  if (typeof value === "object" && value !== null) {
    const { label, decision } = value as { label?: unknown; decision?: unknown };
    if (typeof label === "string") return label;
    if (typeof decision === "string") return decision;
  }
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing");
}
