/** What was typed into the form, as the inputs of a run; and what is wrong with it. Pure. */

import type { FieldSpec } from "./api.ts";

export type Specs = Readonly<Record<string, FieldSpec>>;
/** Each field as it was typed: text, or a box that is ticked. */
export type Typed = Readonly<Record<string, string | boolean>>;

export function typedDefault(spec: FieldSpec): string | boolean {
  if (spec.type === "boolean" && spec.enum === undefined) return spec.default === true;
  if (spec.default === undefined) return "";
  return shown(spec.default);
}

export function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}

export interface Values {
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly problems: Readonly<Record<string, string>>;
}

export function valuesOf(specs: Specs, typed: Typed): Values {
  const inputs: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const raw = typed[name] ?? typedDefault(spec);
    if (raw === "") {
      if (spec.required && spec.default === undefined) problems[name] = "This is needed.";
      continue;
    }
    const read = valueOf(spec, raw);
    if (read.problem !== undefined) problems[name] = read.problem;
    else inputs[name] = read.value;
  }
  return { inputs, problems };
}

function valueOf(spec: FieldSpec, raw: string | boolean): { value?: unknown; problem?: string } {
  if (typeof raw === "boolean") return { value: raw };
  if (spec.enum !== undefined) {
    const choice = spec.enum.find((item) => shown(item) === raw);
    return choice === undefined ? { problem: "Choose one of the list." } : { value: choice };
  }
  if (spec.type === "string") return bounded(spec, raw, [...raw].length, "characters");
  if (spec.type === "number" || spec.type === "integer") {
    const value = Number(raw);
    if (!Number.isFinite(value)) return { problem: "This is no number." };
    if (spec.type === "integer" && !Number.isInteger(value)) return { problem: "This must be a whole number." };
    return bounded(spec, value, value, "");
  }
  try {
    const value: unknown = JSON.parse(raw);
    if (spec.type === "array" && !Array.isArray(value)) return { problem: 'This must be a list: ["one", "two"].' };
    if (spec.type === "object" && (typeof value !== "object" || value === null || Array.isArray(value)))
      return { problem: 'This must be an object: {"name": "value"}.' };
    if (Array.isArray(value)) return bounded(spec, value, value.length, "items");
    return { value };
  } catch {
    return { problem: "This is no JSON." };
  }
}

function bounded(spec: FieldSpec, value: unknown, size: number, of: string): { value?: unknown; problem?: string } {
  const what = of === "" ? "" : ` ${of}`;
  if (spec.min !== undefined && size < spec.min) return { problem: `At least ${spec.min}${what}.` };
  if (spec.max !== undefined && size > spec.max) return { problem: `At most ${spec.max}${what}.` };
  return { value };
}
