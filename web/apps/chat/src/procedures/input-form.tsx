/** A form made from what the program declares: one field an input, checked as it is typed. */

import { useId } from "react";
import type { FieldSpec } from "./api.ts";
import { shown, typedDefault, type Specs, type Typed } from "./form-values.ts";

export function InputForm(props: {
  readonly specs: Specs;
  readonly typed: Typed;
  readonly problems: Readonly<Record<string, string>>;
  readonly onChange: (typed: Typed) => void;
  readonly onSubmit: () => void;
}) {
  const { specs, typed, problems, onChange } = props;
  const names = Object.keys(specs);
  return (
    <form
      className="inputs"
      aria-label="Inputs"
      onSubmit={(event) => {
        event.preventDefault();
        props.onSubmit();
      }}
    >
      {names.length === 0 && <p className="muted small">This program takes no inputs.</p>}
      {names.map((name) => (
        <Field
          key={name}
          name={name}
          spec={specs[name]!}
          value={typed[name] ?? typedDefault(specs[name]!)}
          problem={problems[name]}
          onChange={(value) => onChange({ ...typed, [name]: value })}
        />
      ))}
      <button type="submit" hidden />
    </form>
  );
}

function Field(props: {
  readonly name: string;
  readonly spec: FieldSpec;
  readonly value: string | boolean;
  readonly problem: string | undefined;
  readonly onChange: (value: string | boolean) => void;
}) {
  const { name, spec, value, problem, onChange } = props;
  const id = useId();
  const about = {
    id,
    "aria-required": spec.required,
    "aria-invalid": problem !== undefined,
    "aria-describedby": `${id}-about`,
  };
  const typed = typeof value === "string" ? value : "";
  return (
    <div className="input-field" data-problem={problem !== undefined}>
      <label htmlFor={id}>
        {name}
        {spec.required && <span className="needed"> needed</span>}
        <span className="kind">{kindOf(spec)}</span>
      </label>
      {spec.enum !== undefined ? (
        <select {...about} value={typed} onChange={(event) => onChange(event.target.value)}>
          {(typed === "" || !spec.required) && <option value="">—</option>}
          {spec.enum.map((option) => (
            <option key={shown(option)}>{shown(option)}</option>
          ))}
        </select>
      ) : spec.type === "boolean" ? (
        <input
          {...about}
          type="checkbox"
          checked={value === true}
          onChange={(event) => onChange(event.target.checked)}
        />
      ) : spec.type === "array" || spec.type === "object" ? (
        <textarea
          {...about}
          rows={3}
          spellCheck={false}
          className="json-input"
          value={typed}
          placeholder={spec.type === "array" ? '["…"]' : '{"…": "…"}'}
          onChange={(event) => onChange(event.target.value)}
        />
      ) : spec.type === "string" ? (
        <textarea
          {...about}
          rows={typed.length > 60 || typed.includes("\n") ? 3 : 1}
          value={typed}
          onChange={(event) => onChange(event.target.value)}
        />
      ) : (
        <input
          {...about}
          inputMode={spec.type === "integer" ? "numeric" : "decimal"}
          value={typed}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
      <p id={`${id}-about`} className="about">
        {problem ?? spec.description ?? ""}
      </p>
    </div>
  );
}

function kindOf(spec: FieldSpec): string {
  const { min, max } = spec;
  const range = min === undefined && max === undefined ? "" : ` ${min ?? ""}…${max ?? ""}`;
  return spec.type === "array" && spec.items !== undefined
    ? `list of ${spec.items.type}${range}`
    : `${spec.type}${range}`;
}
