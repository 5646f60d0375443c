/** The slots of a template's run, a card each: what it is asked, its text or value as it comes, how it ended. */

import { shapeOf, shapeOfFields, parsePartial, type RunState, type SlotState } from "@headrace/client";
import { memo, useLayoutEffect, useRef, type ReactNode } from "react";
import { Blocks } from "../chat/blocks.tsx";
import { duration, count } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { CopyButton } from "../ui/copy.tsx";
import { Chevron } from "../ui/icons.tsx";
import { ValueView } from "../ui/value-view.tsx";

/** A slot that the template has and the run has not come to. */
export interface Expected {
  readonly name: string;
  readonly type: string;
  readonly segment: number;
}

interface Row {
  readonly key: string;
  readonly type: string | undefined;
  readonly segment: number;
  readonly slot: SlotState | undefined;
  /** Which turn of a loop it is, from 1. */
  readonly turn: number | undefined;
  readonly asked: Asked | undefined;
}

/** What the run's result says of one slot, once it has ended. */
interface Asked {
  readonly messages?: readonly { readonly role?: string; readonly content?: string }[];
  readonly model?: string;
  readonly attempts?: number;
  readonly usage?: { readonly input_tokens?: number | null; readonly output_tokens?: number | null };
}

export function SlotCards(props: {
  readonly state: RunState | undefined;
  readonly slots: readonly SlotState[];
  readonly expected?: readonly Expected[];
  /** The names of the segments; headings are shown where there is more than one. */
  readonly segments?: readonly string[];
  /** Segments that run at the same time stand side by side. Default: each by itself, in order. */
  readonly waves?: readonly (readonly number[])[];
}) {
  const { state, slots, expected = [], segments = [] } = props;
  const rows = rowsOf(state, slots, expected);
  const numbers = [...new Set(rows.map((row) => row.segment))].sort((a, b) => a - b);
  const known = new Set(props.waves?.flat());
  const waves = [...(props.waves ?? []), ...numbers.filter((number) => !known.has(number)).map((number) => [number])];
  return waves
    .map((wave) => ({
      wave,
      cards: inOrder(
        rows.filter((row) => wave.includes(row.segment)),
        slots,
      ),
    }))
    .filter(({ cards }) => cards.length > 0)
    .map(({ wave, cards }, _, shown) => (
      <section key={wave.join()} className="segment">
        {shown.length > 1 && (
          <h3>
            {wave.map((number) => visible(segments[number] || `Segment ${number + 1}`)).join(" · ")}
            {wave.length > 1 && <small> at the same time</small>}
          </h3>
        )}
        <div className="slot-cards">
          {cards.map((row, index) => (
            <SlotCard
              key={row.slot?.id ?? `${row.key}:${index}`}
              row={row}
              wide={wave.length === 1 && !SMALL.has(row.type ?? "text")}
              over={state?.ended ?? false}
              idle={state === undefined}
            />
          ))}
        </div>
      </section>
    ));
}

/** The turns of a loop as they were asked; without a loop as they stand in the template. */
function inOrder(rows: readonly Row[], slots: readonly SlotState[]): readonly Row[] {
  if (rows.every((row) => row.turn === undefined)) return rows;
  const place = ({ slot }: Row) => (slot === undefined ? slots.length : slots.indexOf(slot));
  return [...rows].sort((a, b) => place(a) - place(b));
}

/** Types whose values are a word or two. */
const SMALL: ReadonlySet<string> = new Set(
  "bool boolean decide int number pick date datetime time duration".split(" "),
);

/** The slots in the template's order; those of a loop one after the other. */
function rowsOf(state: RunState | undefined, slots: readonly SlotState[], expected: readonly Expected[]): Row[] {
  const details = (state?.result?.["slots"] ?? {}) as Readonly<Record<string, Asked | readonly Asked[]>>;
  const rows: Row[] = [];
  const left = new Set(slots);
  const add = (key: string) => {
    const turns = slots.filter((slot) => slot.key === key);
    turns.forEach((slot, index) => {
      const told = details[key];
      left.delete(slot);
      rows.push({
        key,
        type: slot.type,
        segment: slot.segment ?? 0,
        slot,
        turn: turns.length > 1 ? index + 1 : undefined,
        asked: Array.isArray(told) ? (told as readonly Asked[])[index] : (told as Asked | undefined),
      });
    });
    return turns.length > 0;
  };
  const done = new Set<string>();
  for (const { name, type, segment } of expected) {
    if (done.has(name)) continue;
    done.add(name);
    if (!add(name)) rows.push({ key: name, type, segment, slot: undefined, turn: undefined, asked: undefined });
  }
  for (const slot of slots) if (left.has(slot)) add(slot.key);
  return rows;
}

const SAID = {
  idle: "",
  waiting: "waiting",
  skipped: "not asked",
  asking: "asking…",
  writing: "writing…",
  done: "done",
  failed: "failed",
  stopped: "stopped",
} as const;

const SlotCard = memo(
  function SlotCard(props: {
    readonly row: Row;
    readonly wide: boolean;
    readonly over: boolean;
    readonly idle: boolean;
  }) {
    const { row, wide, over, idle } = props;
    const { slot, asked } = row;
    const status = slot?.status ?? (idle ? "idle" : over ? "skipped" : "waiting");
    const elapsed = slot?.span.elapsed_ms;
    const live = status === "asking" || status === "writing";
    return (
      <article
        className="slot-card"
        data-status={status}
        data-wide={wide}
        aria-label={`Slot ${row.key}`}
        aria-busy={live}
      >
        <header>
          <h4>
            {visible(row.key)}
            {row.turn !== undefined && <small> {row.turn}</small>}
          </h4>
          {row.type !== undefined && row.type !== "text" && <span className="slot-type">{visible(row.type)}</span>}
          <span className="slot-state" role={live ? "status" : undefined}>
            {slot?.span.cached === true ? "kept answer" : SAID[status]}
          </span>
          {elapsed !== undefined && <span className="slot-time">{duration(elapsed)}</span>}
          {slot?.status === "done" && <CopyButton text={copied(slot)} label={`Copy ${row.key}`} />}
        </header>
        {slot !== undefined && <SlotBody slot={slot} />}
        {asked?.messages !== undefined && <WhatWasSent asked={asked} />}
      </article>
    );
  },
  (a, b) =>
    a.row.slot === b.row.slot &&
    a.row.asked === b.row.asked &&
    a.over === b.over &&
    a.wide === b.wide &&
    a.idle === b.idle &&
    a.row.key === b.row.key &&
    a.row.turn === b.row.turn,
);

function SlotBody({ slot }: { readonly slot: SlotState }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const writing = slot.status === "writing";
  // What is being written stays in view, unless the person has scrolled away from it.
  useLayoutEffect(() => {
    if (writing && atEnd.current && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  });
  const content = contentOf(slot);
  if (content === undefined) return null;
  return (
    <div
      className="slot-body"
      ref={box}
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        atEnd.current = scrollHeight - scrollTop - clientHeight < 24;
      }}
    >
      {content}
    </div>
  );
}

function contentOf(slot: SlotState): ReactNode {
  const { span, fields, blocks } = slot;
  const text = blocks.filter((block) => block.kind === "text" && block.retracted === undefined);
  const others = blocks.filter((block) => !text.includes(block));
  if (span.done && slot.type === "duration" && typeof span.value === "number") {
    return <span title={`${span.value} s`}>{duration(span.value * 1_000)}</span>;
  }
  // The value, when there is one; before that field by field, or as the JSON it is made of.
  const typed = span.done && span.value !== undefined && typeof span.value !== "string";
  const shape = typed
    ? shapeOf(span.value)
    : (shapeOfFields(fields) ?? (slot.streams ? undefined : parsePartial(text.map((block) => block.text).join(""))));
  if (shape !== undefined) return [<Blocks key="others" blocks={others} />, <ValueView key="value" shape={shape} />];
  if (typed || (text.length === 0 && typeof span.value === "string")) {
    const value = typed ? JSON.stringify(span.value) : String(span.value);
    return [
      <Blocks key="others" blocks={others} />,
      <p key="value" className="slot-value">
        {visible(value)}
      </p>,
    ];
  }
  return blocks.length === 0 ? undefined : <Blocks blocks={blocks} />;
}

function WhatWasSent({ asked }: { readonly asked: Asked }) {
  const { model, attempts, usage, messages = [] } = asked;
  const facts = [
    model,
    usage?.input_tokens == null ? undefined : `${count(usage.input_tokens)} in`,
    usage?.output_tokens == null ? undefined : `${count(usage.output_tokens)} out`,
    attempts !== undefined && attempts > 1 ? `${attempts} attempts` : undefined,
  ].filter((fact) => fact !== undefined && fact !== "");
  return (
    <details className="slot-sent">
      <summary>
        <span>What was sent</span>
        <span className="muted">{facts.join(" · ")}</span>
        <Chevron size={14} />
      </summary>
      <ol>
        {messages.map((message, index) => (
          <li key={index}>
            <strong>{visible(message.role ?? "")}</strong>
            <pre>{visible((message.content ?? "").slice(0, 20_000))}</pre>
          </li>
        ))}
      </ol>
    </details>
  );
}

function copied(slot: SlotState): string {
  const { value } = slot.span;
  if (typeof value === "string") return value;
  if (value === undefined)
    return slot.blocks.map((block) => (block.retracted === undefined ? block.text : "")).join("");
  return JSON.stringify(value, null, 2);
}
