/** A tool call: its name, its arguments as they come, and what the tool said. */

import type { Block } from "@headrace/client";
import { memo } from "react";
import { duration } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { Chevron, Tool } from "../ui/icons.tsx";

const PREVIEW = 90;
const LONGEST = 20_000;

export const ToolCard = memo(function ToolCard({ block }: { readonly block: Block }) {
  const tool = block.tool;
  if (tool === undefined) return null;
  const result = tool.result;
  const failed = result?.error !== undefined;
  const finished = result !== undefined && result.preliminary !== true;
  const state = failed ? "failed" : finished ? "done" : block.done ? "waiting" : "writing";
  const args = tool.arguments === undefined ? block.text : JSON.stringify(tool.arguments, null, 2);
  return (
    <details className="fold tool" data-state={state}>
      <summary>
        <Tool size={16} />
        <span className="tool-name">{tool.name}</span>
        <code className="tool-preview">{visible(args.replace(/\s+/g, " ").slice(0, PREVIEW))}</code>
        <span className="tool-state">{SAID[state]}</span>
        {result?.elapsed_ms !== undefined && <span className="tool-time">{duration(result.elapsed_ms)}</span>}
        <Chevron size={16} />
      </summary>
      <div className="fold-body">
        <p className="fold-label">Arguments</p>
        <pre className="json">{visible(shorten(args)) || " "}</pre>
        {result !== undefined && (
          <>
            <p className="fold-label">{failed ? "Error" : "Result"}</p>
            <pre className="json">{visible(shorten(show(failed ? result.error : result.value)))}</pre>
          </>
        )}
      </div>
    </details>
  );
});

const SAID = { failed: "failed", done: "done", waiting: "running…", writing: "preparing…" } as const;

function show(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "nothing");
}

function shorten(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} more characters`;
}
