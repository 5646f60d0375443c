/** What a run has shown so far: its blocks, its structured answer, a template's slots, questions, sources, files. */

import { slotsOf, type Block, type RunState, type SlotState } from "@headrace/client";
import { useRef } from "react";
import { SafeLink } from "../markdown/render.tsx";
import { SlotCards } from "../run/slot-cards.tsx";
import { Blocks, type Rejection } from "./blocks.tsx";
import { HumanCard } from "./human-card.tsx";
import { Structured, isSource } from "./structured.tsx";

export function RunBody({ state, live }: { readonly state: RunState; readonly live: boolean }) {
  const slots = useSlots(state);
  const own = <T extends { readonly span?: string }>(items: readonly T[], of: (slot: SlotState) => readonly T[]) => {
    if (slots.length === 0) return items;
    const taken = new Set(slots.flatMap(of));
    return items.filter((item) => !taken.has(item));
  };
  const fields = own(state.fields, (slot) => slot.fields);
  const outputs = outputsOf(state);
  const structured = fields.length > 0 || outputs.length > 0;
  const blocks = own(state.blocks, (slot) => slot.blocks);
  const sources = structured ? blocks.filter(isSource) : [];
  return (
    <>
      {slots.length > 0 && <SlotCards state={state} slots={slots} />}
      <Blocks
        blocks={sources.length === 0 ? blocks : blocks.filter((block) => !sources.includes(block))}
        label={(block) => spanLabel(state, block)}
        rejections={rejectionsOf(state)}
      />
      {structured && <Structured fields={fields} outputs={outputs} sources={sources} live={live} />}
      <Aside state={state} live={live} />
    </>
  );
}

/** The structured answer; of a template's run whose events are gone, the values that are still known. */
function outputsOf(state: RunState): readonly unknown[] {
  const values = state.result?.["values"];
  if (state.outputs.length > 0 || values === undefined || state.spans.length + state.blocks.length > 0)
    return state.outputs;
  return [values];
}

function rejectionsOf(state: RunState): readonly Rejection[] {
  const found = state.result?.["rejections"];
  return Array.isArray(found) ? (found as readonly Rejection[]) : [];
}

/** The slots of a run, each the same object until it changes. */
export function useSlots(state: RunState): readonly SlotState[] {
  const before = useRef<readonly SlotState[]>([]);
  before.current = slotsOf(state, before.current);
  return before.current;
}

/** What a run has beside its answer: questions for a person, sources, files. */
export function Aside({ state, live }: { readonly state: RunState; readonly live: boolean }) {
  return (
    <>
      {state.humans.map((ask) => (
        <HumanCard key={ask.request} run={state.run} ask={ask} live={live} />
      ))}
      {state.sources.length > 0 && (
        <ol className="sources" aria-label="Sources">
          {state.sources.map((source, index) => (
            <li key={index}>
              <SafeLink href={source.url ?? ""}>{source.title ?? source.url ?? source.text ?? "source"}</SafeLink>
            </li>
          ))}
        </ol>
      )}
      {state.files.length > 0 && (
        <ul className="files" aria-label="Files">
          {state.files.map((file, index) => (
            <li key={index}>
              <FileView url={file.url ?? ""} name={file.name ?? file.media_type ?? "file"} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** The name of the step a block belongs to, when the run has more than one. */
function spanLabel(state: RunState, block: Block): string | undefined {
  const named = state.spans.filter(
    (span) => span.kind !== "tool" && span.kind !== "trace" && span.kind !== "slot" && span.name !== undefined,
  );
  if (named.length < 2) return undefined;
  return named.find((span) => span.id === block.span)?.name;
}

/** A picture that came inside the event is shown: it calls nobody. Anything else is a link or a download. */
function FileView({ url, name }: { readonly url: string; readonly name: string }) {
  if (/^data:image\/(?:png|jpeg|gif|webp|avif);base64,/.test(url)) return <img src={url} alt={name} />;
  if (url.startsWith("data:")) {
    return (
      <a href={url} download={name}>
        {name}
      </a>
    );
  }
  return <SafeLink href={url}>{name}</SafeLink>;
}
