/** A structured answer: a form that grows with the run's fields, and the checked value in its place at the end. */

import { shapeOf, shapeOfFields, type RunState } from "@headrace/client";
import { memo } from "react";
import { CopyButton } from "../ui/copy.tsx";
import { ValueView } from "../ui/value-view.tsx";

export const Structured = memo(function Structured(props: {
  readonly fields: RunState["fields"];
  readonly outputs: RunState["outputs"];
  readonly live: boolean;
}) {
  const { fields, outputs, live } = props;
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
        <p className="muted">This is too deep to be drawn; the text above has it.</p>
      ) : (
        <ValueView shape={shape} />
      )}
    </section>
  );
});
