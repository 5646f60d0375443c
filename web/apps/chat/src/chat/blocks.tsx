/** The blocks of a run in order: text, thoughts, tool calls side by side, and what was taken back. */

import type { Block } from "@headrace/client";
import { memo } from "react";
import { count, duration, seconds } from "../format.ts";
import { CodeBlock } from "../markdown/code.tsx";
import { Markdown } from "../markdown/markdown.tsx";
import { visible } from "../markdown/render.tsx";
import { useNow } from "../ui/hooks.ts";
import { Chevron, Thought } from "../ui/icons.tsx";
import { ToolCard } from "./tool-card.tsx";

export function Blocks(props: {
  readonly blocks: readonly Block[];
  /** The name of the step a block belongs to, where it should be said. */
  readonly label?: (block: Block) => string | undefined;
  /** Whether text that looks like JSON is the source of a form that is shown, and not the answer itself. */
  readonly structured?: boolean;
}) {
  return groups(props.blocks).map((group) => {
    if (group.retracted !== undefined) {
      return <Retracted key={group.key} blocks={group.blocks} reason={group.retracted} />;
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
    return (
      <BlockView key={group.key} block={block} label={props.label?.(block)} structured={props.structured ?? false} />
    );
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

const BlockView = memo(function BlockView(props: {
  readonly block: Block;
  readonly label: string | undefined;
  readonly structured: boolean;
}) {
  const { block, label } = props;
  switch (block.kind) {
    case "text":
      if (props.structured && /^\s*(?:```|[[{])/.test(block.text)) return <Source block={block} />;
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

/** The JSON behind a form. */
function Source({ block }: { readonly block: Block }) {
  return (
    <details className="fold">
      <summary>
        <span>As the model wrote it</span>
        <Chevron size={16} />
      </summary>
      <div className="fold-body">
        <CodeBlock language="json" code={block.text} closed={block.done} />
      </div>
    </details>
  );
}

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
const PREVIEW = 140;

function Retracted({ blocks, reason }: { readonly blocks: readonly Block[]; readonly reason: string }) {
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
