/** Says to a screen reader that an answer began and how it ended: not each token, and politely. */

import { runningAnswer, textOf, type Conversation } from "@headrace/client";
import { useEffect, useRef, useState } from "react";
import { wordsFor } from "../words.ts";

export function Announcer({ conversation }: { readonly conversation: Conversation | undefined }) {
  const [said, setSaid] = useState("");
  const running = runningAnswer(conversation)?.id;
  const before = useRef<string>(undefined);
  useEffect(() => {
    if (running !== undefined) setSaid("The model is answering.");
    else if (before.current !== undefined) setSaid(ending(conversation, before.current));
    before.current = running;
  }, [running, conversation]);
  return (
    <div className="visually-hidden" role="status" aria-live="polite">
      {said}
    </div>
  );
}

function ending(conversation: Conversation | undefined, id: string): string {
  const answer = conversation?.messages.find((message) => message.id === id);
  if (answer === undefined || answer.role === "user") return "";
  const error = answer.problem ?? answer.state?.error;
  if (answer.state?.outcome === "cancelled") return "Stopped.";
  if (error !== undefined) return `${wordsFor(error.code).title}.`;
  const words = answer.state === undefined ? 0 : textOf(answer.state).split(/\s+/).filter(Boolean).length;
  return `The answer is complete: ${words} words.`;
}
