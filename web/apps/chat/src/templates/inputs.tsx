/** The inputs panel: a field for every variable of the template, as text or as JSON. */

import { useRef } from "react";
import { visible } from "../markdown/render.tsx";
import type { Doc, Input } from "./docs.ts";

export function Inputs(props: {
  readonly names: readonly string[];
  readonly inputs: Doc["inputs"];
  readonly problems: Readonly<Record<string, string>>;
  readonly onChange: (inputs: Doc["inputs"]) => void;
}) {
  const { names, inputs, problems, onChange } = props;
  if (names.length === 0) {
    return (
      <p className="muted inputs-none">
        This template has no inputs. Write <code>{"{{ name }}"}</code> in it to have one.
      </p>
    );
  }
  return (
    <div className="inputs">
      {names.map((name) => (
        <InputField
          key={name}
          name={name}
          input={inputs[name] ?? { text: "", json: false }}
          problem={problems[name]}
          onChange={(input) => onChange({ ...inputs, [name]: input })}
        />
      ))}
    </div>
  );
}

function InputField(props: {
  readonly name: string;
  readonly input: Input;
  readonly problem: string | undefined;
  readonly onChange: (input: Input) => void;
}) {
  const { name, input, problem, onChange } = props;
  const file = useRef<HTMLInputElement>(null);
  const id = `input-${name}`;
  return (
    <div className="input" data-problem={problem !== undefined}>
      <div className="input-head">
        <label htmlFor={id}>{visible(name)}</label>
        <span className="topbar-space" />
        <button type="button" className="link" onClick={() => file.current?.click()}>
          From a file
        </button>
        <input
          ref={file}
          type="file"
          hidden
          aria-label={`A file for ${name}`}
          onChange={(event) => {
            const chosen = event.target.files?.[0];
            event.target.value = "";
            if (chosen !== undefined) void chosen.text().then((text) => onChange({ ...input, text }));
          }}
        />
        <label className="input-json">
          <input
            type="checkbox"
            checked={input.json}
            onChange={(event) => onChange({ ...input, json: event.target.checked })}
          />
          JSON
        </label>
      </div>
      <textarea
        id={id}
        rows={1}
        value={input.text}
        placeholder={input.json ? '["a list", "or anything else"]' : "Text"}
        spellCheck={!input.json}
        data-json={input.json}
        aria-invalid={problem !== undefined}
        aria-describedby={problem === undefined ? undefined : `${id}-problem`}
        onChange={(event) => onChange({ ...input, text: event.target.value })}
      />
      {problem !== undefined && (
        <p id={`${id}-problem`} className="problem-text">
          Not JSON: {problem}
        </p>
      )}
    </div>
  );
}
