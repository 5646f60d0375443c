/** The blocks of a run in order: text, thoughts, tool calls side by side, and what was taken back. */

import type { Block } from "@headrace/client";
import { memo } from "react";
import { count, duration, seconds } from "../format.ts";
import { Markdown } from "../markdown/markdown.tsx";
import { visible } from "../markdown/render.tsx";
import { useNow } from "../ui/hooks.ts";
import { Chevron, Thought } from "../ui/icons.tsx";
import { ToolCard } from "./tool-card.tsx";

/** Why an answer was turned down, as the run's result has it. */
export interface Rejection {
  readonly problems?: readonly { readonly path?: string; readonly message?: string }[];
}

export function Blocks(props: {
  readonly blocks: readonly Block[];
  /** The name of the step a block belongs to, where it should be said. */
  readonly label?: (block: Block) => string | undefined;
  /** In the order of the texts that were turned down. */
  readonly rejections?: readonly Rejection[];
}) {
  let turnedDown = 0;
  return groups(props.blocks).map((group) => {
    if (group.retracted !== undefined) {
      const from = turnedDown;
      if (TURNED_DOWN.has(group.retracted)) turnedDown += group.blocks.filter((block) => block.kind === "text").length;
      return (
        <Retracted
          key={group.key}
          blocks={group.blocks}
          reason={group.retracted}
          problems={(props.rejections ?? []).slice(from, turnedDown).flatMap((one) => one.problems ?? [])}
        />
      );
    }
    if (group.blocks.length > 1) {
      return (
        <div key={group.key} className="tool-row" role="group" aria-label={`${group.blocks.length} tool calls`}>
          {group.blocks.map((block) => (
            <ToolCard key={block.id} block={block} />
          ))}
        </div>
      );
    }
    const block = group.blocks[0]!;
    return <BlockView key={group.key} block={block} label={props.label?.(block)} />;
  });
}

interface Group {
  readonly key: string;
  readonly blocks: readonly Block[];
  readonly retracted?: string;
}

/** Neighbours that were taken back for one reason are shown as one, and so are tool calls that were made together. */
function groups(blocks: readonly Block[]): Group[] {
  const out: Group[] = [];
  blocks.forEach((block, index) => {
    const key = `${index}:${block.id}`;
    const last = out.at(-1);
    const together =
      last !== undefined &&
      last.retracted === block.retracted &&
      (block.retracted !== undefined || (block.kind === "tool-call" && last.blocks[0]!.kind === "tool-call"));
    if (together) out[out.length - 1] = { ...last, blocks: [...last.blocks, block] };
    else out.push({ key, blocks: [block], ...(block.retracted === undefined ? {} : { retracted: block.retracted }) });
  });
  return out;
}

const BlockView = memo(function BlockView(props: { readonly block: Block; readonly label: string | undefined }) {
  const { block, label } = props;
  switch (block.kind) {
    case "text":
      return (
        <>
          {label !== undefined && <p className="span-label">{label}</p>}
          <Markdown text={block.text} done={block.done} />
        </>
      );
    case "reasoning":
      return <Reasoning block={block} />;
    case "tool-call":
      return <ToolCard block={block} />;
  }
});

function Reasoning({ block }: { readonly block: Block }) {
  const now = useNow(!block.done);
  const took = block.ended !== undefined && block.started !== undefined ? block.ended - block.started : undefined;
  const title = block.done
    ? took === undefined
      ? "Thought"
      : `Thought for ${took < 1_000 ? duration(took) : seconds(took)}`
    : `Thinking${block.started === undefined ? "" : ` for ${seconds(now - block.started)}`}`;
  return (
    <details className="fold" data-live={!block.done}>
      <summary>
        <Thought size={16} />
        <span>{title}</span>
        <Chevron size={16} />
      </summary>
      <div className="fold-body reasoning">
        <Markdown text={block.text} done={block.done} />
      </div>
    </details>
  );
}

const REASONS: Readonly<Record<string, string>> = {
  retry: "The provider failed here and was asked again",
  failover: "The provider failed here and another one took over",
  validation: "This did not have the right form and was asked for again",
  "early-reject": "This was turned down while it was being written",
};
/** Reasons that come with a rejection. */
const TURNED_DOWN: ReadonlySet<string> = new Set(["validation", "early-reject"]);
const PREVIEW = 140;
const MOST = 5;

function Retracted(props: {
  readonly blocks: readonly Block[];
  readonly reason: string;
  readonly problems: NonNullable<Rejection["problems"]>;
}) {
  const { blocks, reason, problems } = props;
  const length = blocks.reduce((sum, block) => sum + block.text.length, 0);
  const preview = blocks
    .map((block) => block.text.slice(0, PREVIEW))
    .join(" ")
    .replace(/\s+/g, " ")
    .slice(0, PREVIEW);
  return (
    <details className="fold retracted">
      <summary>
        <span className="retracted-words">
          <span>
            {REASONS[reason] ?? `Taken back: ${reason}`} <small>({count(length)} characters taken back)</small>
          </span>
          {problems.slice(0, MOST).map(({ path = "", message = "" }, index) => (
            <span key={index} className="retracted-why">
              {path !== "" && <code>{visible(path)}</code>} {visible(message)}
            </span>
          ))}
          {preview !== "" && <del>{visible(preview)}</del>}
        </span>
        <Chevron size={16} />
      </summary>
      <div className="fold-body">
        {blocks.map((block, index) => (
          <del key={index} className="md-plain">
            {visible(block.text)}
          </del>
        ))}
      </div>
    </details>
  );
}
