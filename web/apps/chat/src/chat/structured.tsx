/** A structured answer: a form that grows with the run's fields, and the checked value in its place at the end. */

import { shapeOf, shapeOfFields, type Block, type RunState } from "@headrace/client";
import { memo, useState } from "react";
import { CodeBlock } from "../markdown/code.tsx";
import { CopyButton } from "../ui/copy.tsx";
import { Chevron } from "../ui/icons.tsx";
import { ValueView } from "../ui/value-view.tsx";

/** Whether a text is what a form is read from, and not an answer for a reader. */
export function isSource(block: Block): boolean {
  return block.kind === "text" && block.retracted === undefined && /^\s*(?:```|[[{])/.test(block.text);
}

export const Structured = memo(function Structured(props: {
  readonly fields: RunState["fields"];
  readonly outputs: RunState["outputs"];
  /** The texts that it is read from. */
  readonly sources: readonly Block[];
  readonly live: boolean;
}) {
  const { fields, outputs, sources, live } = props;
  const [open, setOpen] = useState(false);
  const checked = outputs.length > 0;
  const value = outputs.at(-1);
  const shape = checked ? shapeOf(value) : shapeOfFields(fields);
  const said = checked ? "checked" : live ? "being written…" : "not checked";
  return (
    <section className="structured" aria-label="Structured answer" aria-busy={live && !checked} data-checked={checked}>
      <header>
        <h3>Answer</h3>
        <span className="structured-state">{said}</span>
        {checked && <CopyButton text={JSON.stringify(value, null, 2)} label="Copy as JSON" />}
      </header>
      {shape === undefined ? (
        <p className="muted">This is too deep to be drawn as a form.</p>
      ) : (
        <ValueView shape={shape} />
      )}
      {sources.length > 0 && (
        <details className="source" onToggle={(event) => setOpen(event.currentTarget.open)}>
          <summary>
            As the model wrote it <Chevron size={14} />
          </summary>
          {open &&
            sources.map((block, index) => (
              <CodeBlock key={index} language="json" code={block.text} closed={block.done} />
            ))}
        </details>
      )}
    </section>
  );
});
