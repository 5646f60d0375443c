/** What a run has shown so far: its text, thoughts, tool calls, questions and what was taken back. */

import type { Block, RunState } from "@headrace/client";
import { memo } from "react";
import { count, duration, seconds } from "../format.ts";
import { CodeBlock } from "../markdown/code.tsx";
import { Markdown } from "../markdown/markdown.tsx";
import { SafeLink, visible } from "../markdown/render.tsx";
import { useNow } from "../ui/hooks.ts";
import { Chevron, Thought } from "../ui/icons.tsx";
import { HumanCard } from "./human-card.tsx";
import { ToolCard } from "./tool-card.tsx";

export function RunBody({ state, live }: { readonly state: RunState; readonly live: boolean }) {
  const structured = state.fields.length > 0 || state.outputs.length > 0;
  return (
    <>
      {groups(state.blocks).map((group) =>
        group.retracted === undefined ? (
          <BlockView
            key={group.key}
            block={group.blocks[0]!}
            label={spanLabel(state, group.blocks[0]!)}
            structured={structured}
          />
        ) : (
          <Retracted key={group.key} blocks={group.blocks} reason={group.retracted} />
        ),
      )}
      {state.blocks.length === 0 && state.outputs.map((output, index) => <Json key={index} value={output} />)}
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

interface Group {
  readonly key: string;
  readonly blocks: readonly Block[];
  readonly retracted?: string;
}

/** Neighbours that were taken back for one reason are shown as one. */
function groups(blocks: readonly Block[]): Group[] {
  const out: Group[] = [];
  blocks.forEach((block, index) => {
    const key = `${index}:${block.id}`;
    if (block.retracted === undefined) {
      out.push({ key, blocks: [block] });
      return;
    }
    const last = out.at(-1);
    if (last?.retracted === block.retracted) out[out.length - 1] = { ...last, blocks: [...last.blocks, block] };
    else out.push({ key, blocks: [block], retracted: block.retracted });
  });
  return out;
}

/** The name of the step a block belongs to, when the run has more than one. */
function spanLabel(state: RunState, block: Block): string | undefined {
  const named = state.spans.filter((span) => span.kind !== "tool" && span.kind !== "trace" && span.name !== undefined);
  if (named.length < 2) return undefined;
  return named.find((span) => span.id === block.span)?.name;
}

const BlockView = memo(function BlockView(props: {
  readonly block: Block;
  readonly label: string | undefined;
  /** Whether the run's text is JSON by request, and not prose. */
  readonly structured: boolean;
}) {
  const { block, label } = props;
  switch (block.kind) {
    case "text":
      return (
        <>
          {label !== undefined && <p className="span-label">{label}</p>}
          {props.structured ? (
            <CodeBlock language="json" code={block.text} closed={block.done} />
          ) : (
            <Markdown text={block.text} done={block.done} />
          )}
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

function Retracted({ blocks, reason }: { readonly blocks: readonly Block[]; readonly reason: string }) {
  const length = blocks.reduce((sum, block) => sum + block.text.length, 0);
  return (
    <details className="fold retracted">
      <summary>
        <span>
          {REASONS[reason] ?? `Taken back: ${reason}`} <small>({count(length)} characters taken back)</small>
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

export function Json({ value }: { readonly value: unknown }) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return <pre className="json">{visible(text ?? "")}</pre>;
}
