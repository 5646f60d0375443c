/** A tool call: its name, its arguments as they are written, and what the tool says, also on the way. */

import { parsePartial, shapeOf, type Block, type ToolCall } from "@headrace/client";
import { memo, useState } from "react";
import { duration } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { Chevron, Tool } from "../ui/icons.tsx";
import { AnyValue, LONGEST, ValueView, shorten } from "../ui/value-view.tsx";

export const ToolCard = memo(function ToolCard({ block }: { readonly block: Block }) {
  const tool = block.tool;
  const state = stateOf(block);
  // Open while there is something to watch; one that was done long ago can be opened.
  const [open] = useState(state !== "done");
  if (tool === undefined) return null;
  const result = tool.result;
  return (
    <details className="fold tool" data-state={state} open={open} aria-label={`Tool call ${tool.name}`}>
      <summary>
        <Tool size={16} />
        <span className="tool-name">{visible(tool.name)}</span>
        <span className="tool-state">{SAID[state]}</span>
        {result?.elapsed_ms !== undefined && <span className="tool-time">{duration(result.elapsed_ms)}</span>}
        <Chevron size={16} />
      </summary>
      <div className="fold-body">
        <p className="fold-label">Arguments</p>
        <Arguments block={block} tool={tool} />
        {result !== undefined && (
          <>
            <p className="fold-label">
              {state === "failed" ? "Error" : result.preliminary === true ? "Result so far" : "Result"}
            </p>
            <AnyValue value={state === "failed" ? result.error : result.value} />
          </>
        )}
      </div>
    </details>
  );
});

const SAID = { failed: "failed", done: "done", waiting: "running…", writing: "writing…" } as const;

function stateOf(block: Block): keyof typeof SAID {
  const result = block.tool?.result;
  if (result?.error !== undefined) return "failed";
  if (result !== undefined && result.preliminary !== true) return "done";
  return block.done ? "waiting" : "writing";
}

function Arguments({ block, tool }: { readonly block: Block; readonly tool: ToolCall }) {
  const short = block.text.length <= LONGEST;
  const shape =
    tool.arguments !== undefined
      ? short
        ? shapeOf(tool.arguments)
        : undefined
      : short
        ? parsePartial(block.text)
        : undefined;
  if (shape !== undefined) return <ValueView shape={shape} />;
  return <pre className="json">{visible(shorten(block.text)) || "…"}</pre>;
}
