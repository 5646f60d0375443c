/** One turn of an agent: waiting, then its words as they come, then the whole with what it took. */

import { shapeOf, shapeOfFields, type Block, type Shape } from "@headrace/client";
import { memo, useState } from "react";
import { ToolCard } from "../chat/tool-card.tsx";
import { UNKNOWN, cost, count, duration, seconds } from "../format.ts";
import { CodeBlock } from "../markdown/code.tsx";
import { Markdown } from "../markdown/markdown.tsx";
import { visible } from "../markdown/render.tsx";
import { useNow } from "../ui/hooks.ts";
import { Chevron, Retry, Thought } from "../ui/icons.tsx";
import { ValueView } from "../ui/value-view.tsx";
import type { Turn } from "./entries.ts";

const STATES = {
  waiting: "waiting",
  streaming: "speaking",
  done: "",
  failed: "failed",
  stopped: "stopped",
} as const;

export const TurnCard = memo(function TurnCard({ turn }: { readonly turn: Turn }) {
  const asked = turn.pieces.some((piece) => piece.retracted !== undefined);
  const form = shapeOfTurn(turn);
  const shown = form === undefined ? turn.pieces : turn.pieces.filter((piece) => !isSource(piece));
  return (
    <article className="turn" data-state={turn.state} aria-label={`Turn of ${turn.agent}`}>
      <header>
        <h3>{visible(turn.agent)}</h3>
        <span className="turn-model">{visible(turn.model ?? "")}</span>
        {turn.cached && <span className="tag">from before</span>}
        {STATES[turn.state] !== "" && (
          <span className="tag" data-state={turn.state}>
            {STATES[turn.state]}
          </span>
        )}
      </header>
      {shown.map((piece, index) => (
        <Piece
          key={`${index}:${piece.id}`}
          piece={piece}
          structured={turn.structured}
          again={piece.retracted !== undefined && shown[index + 1]?.retracted !== piece.retracted}
          last={index === shown.length - 1 && form === undefined && turn.state === "failed"}
        />
      ))}
      {form !== undefined && (
        <>
          <div className="turn-form" aria-busy={turn.state === "streaming"}>
            <ValueView shape={form} />
          </div>
          <Source pieces={turn.pieces.filter(isSource)} />
        </>
      )}
      {turn.notes.map((note, index) => (
        <p key={index} className="note">
          <Retry size={14} /> {visible(note)}
        </p>
      ))}
      {turn.state === "waiting" && <Waiting since={turn.started} again={asked} />}
      {turn.error !== undefined && <p className="problem-text">{visible(turn.error)}</p>}
      {(turn.state === "done" || turn.state === "failed" || turn.state === "stopped") && <Figures turn={turn} />}
    </article>
  );
});

/** The answer as a form: its fields as they come, then the checked value. */
function shapeOfTurn(turn: Turn): Shape | undefined {
  if (!turn.structured) return undefined;
  if (turn.output !== undefined) return shapeOf(turn.output);
  return turn.fields.length > 0 ? shapeOfFields(turn.fields) : undefined;
}

/** The text that a form was read from. */
function isSource(piece: Block): boolean {
  return piece.kind === "text" && piece.retracted === undefined;
}

function Source({ pieces }: { readonly pieces: readonly Block[] }) {
  const [open, setOpen] = useState(false);
  if (pieces.length === 0) return null;
  return (
    <details className="source" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        As the model wrote it <Chevron size={14} />
      </summary>
      {open &&
        pieces.map((piece) => <CodeBlock key={piece.id} language="json" code={pretty(piece)} closed={piece.done} />)}
    </details>
  );
}

function Waiting({ since, again }: { readonly since: number | undefined; readonly again: boolean }) {
  const now = useNow(true);
  return (
    <p className="waiting" role="status">
      <span className="ripple" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {again ? "Asking again" : "Waiting for the first word"}
      {since !== undefined && now - since > 1_000 && <span>{seconds(now - since)}</span>}
    </p>
  );
}

const Piece = memo(function Piece(props: {
  readonly piece: Block;
  readonly structured: boolean;
  /** Whether the reason belongs under it, and not under the next, which shares it. */
  readonly again: boolean;
  /** Whether nothing came after it. */
  readonly last: boolean;
}) {
  const { piece } = props;
  if (piece.retracted !== undefined) {
    return (
      <div className="refused">
        {piece.text !== "" && <del>{visible(piece.text)}</del>}
        {props.again && (
          <p>
            <Retry size={14} /> {visible(reason(piece.retracted))}
            {props.last ? "" : ". Asked again."}
          </p>
        )}
      </div>
    );
  }
  switch (piece.kind) {
    case "tool-call":
      return <ToolCard block={piece} />;
    case "reasoning":
      return (
        <details className="fold" data-live={!piece.done}>
          <summary>
            <Thought size={16} />
            <span>{piece.done ? "Thought" : "Thinking"}</span>
            <Chevron size={16} />
          </summary>
          <div className="fold-body reasoning">
            <Markdown text={piece.text} done={piece.done} />
          </div>
        </details>
      );
    case "text":
      return props.structured || /^\s*[[{]/.test(piece.text) ? (
        <CodeBlock language="json" code={pretty(piece)} closed={piece.done} />
      ) : (
        <Markdown text={piece.text} done={piece.done} />
      );
  }
});

function reason(words: string): string {
  if (words === "retry") return "The provider failed here";
  const [kind, said] = /^(validation|early-reject): (.*)$/s.exec(words)?.slice(1) ?? [];
  if (said === undefined) return `Taken back: ${words}`;
  return kind === "validation" ? `Refused: ${said}` : `Stopped and refused: ${said}`;
}

/** JSON of one line is easier to read on several, once it is all there. */
function pretty(piece: Block): string {
  if (!piece.done || piece.text.includes("\n")) return piece.text;
  try {
    return JSON.stringify(JSON.parse(piece.text), null, 2);
  } catch {
    return piece.text;
  }
}

function Figures({ turn }: { readonly turn: Turn }) {
  const { usage } = turn;
  const about = usage?.basis === "estimated" ? "~" : "";
  const tokens = (value: number | null | undefined) =>
    value === undefined || value === null ? UNKNOWN : about + count(value);
  return (
    <dl className="figures">
      <Figure name="Cost" value={cost(usage?.cost ?? undefined, usage?.currency ?? undefined)} />
      <Figure name="Tokens" value={`${tokens(usage?.input_tokens)} in, ${tokens(usage?.output_tokens)} out`} />
      <Figure name="Duration" value={duration(turn.elapsedMs)} />
      <Figure name="First token" value={duration(turn.firstTokenMs)} />
    </dl>
  );
}

export function Figure({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
