/** A question the run has for a person. */

import type { HumanAsk } from "@headrace/client";
import { useState } from "react";
import { visible } from "../markdown/render.tsx";
import { chat } from "../state.ts";

export function HumanCard({
  run,
  ask,
  live,
}: {
  readonly run: string;
  readonly ask: HumanAsk;
  readonly live: boolean;
}) {
  const [text, setText] = useState(typeof ask.default === "string" ? ask.default : "");
  const [problem, setProblem] = useState<string>();
  const [sent, setSent] = useState(false);
  const answer = (value: unknown) => {
    setSent(true);
    setProblem(undefined);
    chat.respond(run, ask.request, value).catch((error: Error) => {
      setSent(false);
      setProblem(error.message);
    });
  };
  const options = ask.options ?? (ask.kind === "approval" || ask.kind === "approve" ? [true, false] : []);
  return (
    <section className="human" aria-label="The run asks you">
      <p>{visible(ask.message || "The run waits for you.")}</p>
      {ask.answered ? (
        <p className="muted">Answered: {visible(say(ask.value))}</p>
      ) : !live ? (
        <p className="muted">Not answered.</p>
      ) : options.length > 0 ? (
        <div className="row">
          {options.map((option, index) => (
            <button
              key={index}
              type="button"
              className="button"
              disabled={sent}
              onClick={() => answer(valueOf(option))}
            >
              {say(option)}
            </button>
          ))}
        </div>
      ) : (
        <form
          className="row"
          onSubmit={(event) => {
            event.preventDefault();
            answer(text);
          }}
        >
          <input value={text} onChange={(event) => setText(event.target.value)} aria-label="Your answer" />
          <button className="button primary" disabled={sent}>
            Answer
          </button>
        </form>
      )}
      {problem !== undefined && <p className="problem-text">{problem}</p>}
    </section>
  );
}

function valueOf(option: unknown): unknown {
  return typeof option === "object" && option !== null && "value" in option ? option.value : option;
}

function say(value: unknown): string {
  if (value === true) return "Approve";
  if (value === false) return "Reject";
  if (typeof value === "object" && value !== null && "label" in value) return String(value.label);
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing");
}
