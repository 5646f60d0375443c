/** Small things that the parts of the page share: addresses, times, links to facts, a failure in a line. */

import type { HeadraceError } from "@headrace/client";
import type { ReactNode } from "react";
import { ProblemCard } from "../chat/problem-card.tsx";
import { wordsFor } from "../words.ts";
import type { Conversation } from "./use-conversation.ts";

export interface TabProps {
  readonly conversation: Conversation;
  readonly onSend: (text: string) => void;
}

export function addressOf(
  conversation: string,
  tab = "",
  query: Readonly<Record<string, string | number>> = {},
): string {
  const asked = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const parts = ["companion", encodeURIComponent(conversation), ...(tab === "" ? [] : [tab])];
  return parts.join("/") + (asked.length === 0 ? "" : `?${asked.join("&")}`);
}

export function FactLink(props: {
  readonly conversation: string;
  readonly seq: number;
  readonly children?: ReactNode;
}) {
  return (
    <a className="fact-link" href={`#/${addressOf(props.conversation, "ledger", { fact: props.seq })}`}>
      {props.children ?? `fact ${props.seq}`}
    </a>
  );
}

export function NodeLink({ conversation, node }: { readonly conversation: string; readonly node: string }) {
  return (
    <a className="fact-link" href={`#/${addressOf(conversation, "graph", { node })}`}>
      {node}
    </a>
  );
}

export function Trouble(props: { readonly error: HeadraceError; readonly onRetry?: (() => void) | undefined }) {
  const { error } = props;
  return (
    <div className="trouble">
      <ProblemCard words={wordsFor(error.code)} code={error.code} message={error.message} onRetry={props.onRetry} />
    </div>
  );
}

/** The body of a part that scrolls, with a heading for who cannot see the tabs. */
export function Panel(props: { readonly name: string; readonly wide?: boolean; readonly children: ReactNode }) {
  return (
    <section className="panel" aria-label={props.name}>
      <div className="panel-inner" data-wide={props.wide ?? false}>
        {props.children}
      </div>
    </section>
  );
}

export function Nothing({ children }: { readonly children: ReactNode }) {
  return <p className="nothing muted">{children}</p>;
}

export function clock(time: string): string {
  const date = new Date(time);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("en-GB")} `;
  return day + date.toLocaleTimeString("en-GB");
}

/** A number of 0 to 1 as a bar. */
export function Meter(props: { readonly name: string; readonly value: number; readonly title?: string }) {
  const { name, value } = props;
  return (
    <div className="meter" title={props.title}>
      <span>{name}</span>
      <strong>{value.toFixed(2)}</strong>
      <i role="meter" aria-label={name} aria-valuemin={0} aria-valuemax={1} aria-valuenow={value}>
        <b style={{ width: `${Math.max(0, Math.min(1, value)) * 100}%` }} />
      </i>
    </div>
  );
}
