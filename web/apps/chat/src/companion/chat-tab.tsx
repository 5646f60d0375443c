/** The talk itself: turns from the ledger, the one that is being answered, and where the next message is written. */

import { textOf } from "@headrace/client";
import { memo, useEffect } from "react";
import { RunAnswer } from "../chat/answer.tsx";
import { Composer } from "../chat/composer.tsx";
import { count, duration } from "../format.ts";
import { Markdown } from "../markdown/markdown.tsx";
import { visible } from "../markdown/render.tsx";
import { CopyButton } from "../ui/copy.tsx";
import { useStickyScroll } from "../ui/hooks.ts";
import { Down, Thought } from "../ui/icons.tsx";
import type { Followed } from "../ui/use-run.ts";
import type { Fact } from "./api.ts";
import { FactLink, type TabProps } from "./parts.tsx";
import { remembered, type Entry, type TurnEntry } from "./timeline.ts";

export function ChatTab({ conversation, onSend }: TabProps) {
  const { id, entries, followed, pending, reflecting } = conversation;
  const scroll = useStickyScroll();
  useEffect(() => scroll.toEnd(), [id, scroll.toEnd]);
  const here = followed?.state.run ?? pending?.run;
  const listed = here !== undefined && entries.some((entry) => entry.kind === "turn" && entry.run === here);
  const empty = conversation.head === null && pending === undefined;
  const reflected = entries.some(
    (entry) => entry.kind === "fact" && entry.fact.id === `reflection:${reflecting?.state.run}`,
  );
  const send = (text: string) => {
    onSend(text);
    scroll.toEnd();
  };
  return (
    <section className="companion-chat" aria-label="Chat">
      <div className="scroller" ref={scroll.scroller}>
        <div className="thread" ref={scroll.content} data-empty={empty}>
          {empty && (
            <div className="empty">
              <h1>What should we remember?</h1>
              <p className="muted">
                Every turn is a fact in the server's ledger. What is promised, noted and thought over comes back in the
                next message's context.
              </p>
            </div>
          )}
          {entries.map((entry) => (
            <EntryView
              key={entry.kind === "turn" ? entry.run : entry.fact.id}
              conversation={id}
              entry={entry}
              {...(entry.kind === "turn" && entry.run === here ? { followed, since: pending?.at } : {})}
            />
          ))}
          {pending !== undefined && !listed && (
            <>
              <Said text={pending.text} />
              {followed !== undefined ? (
                <Live followed={followed} since={pending.at} />
              ) : (
                conversation.busy && <p className="waiting">Sending…</p>
              )}
            </>
          )}
          {reflecting !== undefined && !reflected && <Reflecting followed={reflecting} />}
        </div>
      </div>
      <div className="dock">
        {!scroll.atEnd && !empty && (
          <button type="button" className="jump" onClick={() => scroll.toEnd(true)}>
            <Down size={15} /> Jump to latest
          </button>
        )}
        <Composer
          draft={`companion:${id}`}
          running={conversation.busy}
          stopping={conversation.stopping}
          onSend={send}
          onStop={conversation.stop}
        />
      </div>
    </section>
  );
}

const EntryView = memo(function EntryView(props: {
  readonly conversation: string;
  readonly entry: Entry;
  readonly followed?: Followed | undefined;
  readonly since?: number | undefined;
}) {
  const { entry } = props;
  if (entry.kind === "fact") return <Beside conversation={props.conversation} fact={entry.fact} />;
  return (
    <>
      <Said text={entry.user.content} />
      {props.followed !== undefined ? <Live followed={props.followed} since={props.since} /> : <Ended entry={entry} />}
      {entry.memory.length > 0 && (
        <ul className="remembered" aria-label="What is remembered of this">
          {entry.memory.map((fact) => (
            <li key={fact.id} data-kind={fact.kind}>
              <FactLink conversation={props.conversation} seq={fact.seq}>
                {visible(remembered(fact))}
              </FactLink>
            </li>
          ))}
        </ul>
      )}
    </>
  );
});

function Said({ text }: { readonly text: string }) {
  return (
    <article className="question" aria-label="Your message">
      <div dir="auto">{visible(text)}</div>
    </article>
  );
}

function Live({ followed, since }: { readonly followed: Followed; readonly since: number | undefined }) {
  return (
    <RunAnswer
      snapshot={followed}
      live={followed.live}
      since={since}
      model={followed.state.model}
      problem={followed.error}
      onReattach={followed.reattach}
    />
  );
}

/** A turn as the ledger has it: the whole reply, or why there is none. */
function Ended({ entry }: { readonly entry: TurnEntry }) {
  const { end } = entry;
  if (end === undefined)
    return <p className="note">Not answered yet: somewhere else this turn runs, or it was cut off.</p>;
  if (end.kind !== "response") {
    const error = end.meta["error"] as { message?: unknown } | undefined;
    const reason = end.meta["reason"] ?? error?.message;
    return (
      <p className="note" data-outcome={String(end.meta["outcome"] ?? "")}>
        {end.meta["outcome"] === "cancelled" ? "Stopped." : `No answer: ${String(end.meta["outcome"] ?? "ended")}.`}{" "}
        {typeof reason === "string" && visible(reason)}
      </p>
    );
  }
  const usage = end.meta["usage"] as { output_tokens?: unknown } | undefined;
  const took = Date.parse(end.time) - Date.parse(entry.user.time);
  return (
    <article className="answer" aria-label="Answer" aria-busy={false}>
      <Markdown text={end.content} done />
      <footer className="answer-foot">
        <div className="answer-actions">
          <CopyButton text={end.content} label="Copy answer" />
        </div>
        <dl className="figures">
          {typeof entry.user.meta["model"] === "string" && (
            <div>
              <dt>Model</dt>
              <dd>{visible(entry.user.meta["model"])}</dd>
            </div>
          )}
          {typeof usage?.output_tokens === "number" && (
            <div>
              <dt>Output tokens</dt>
              <dd>{count(usage.output_tokens)} tokens</dd>
            </div>
          )}
          <div>
            <dt>Total time</dt>
            <dd>{duration(took)}</dd>
          </div>
        </dl>
      </footer>
    </article>
  );
}

/** What was written beside the turns: a reflection, a name, a directive. */
function Beside({ conversation, fact }: { readonly conversation: string; readonly fact: Fact }) {
  return (
    <aside className="beside" data-kind={fact.kind}>
      <h3>
        <Thought size={15} /> {visible(fact.kind)} <FactLink conversation={conversation} seq={fact.seq} />
      </h3>
      <Markdown text={fact.content} done />
    </aside>
  );
}

function Reflecting({ followed }: { readonly followed: Followed }) {
  const { state, live } = followed;
  const text = textOf(state);
  return (
    <aside className="beside" data-kind="reflection" data-live={live} aria-busy={live}>
      <h3>
        <Thought size={15} /> {live ? "Reflecting…" : "reflection"}
      </h3>
      <Markdown text={text} done={!live} />
      {!live && state.outcome !== "completed" && (
        <p className="note">
          Nothing was remembered of this: {state.outcome ?? "lost"}.{" "}
          {visible(state.error?.message ?? followed.error?.message ?? "")}
        </p>
      )}
    </aside>
  );
}
