/**
 * Structured values while they form, as one tree that a page can draw: what is there, and what is finished.
 *
 * The tree is made from JSON text that is cut off anywhere (`parsePartial`: a tool's arguments), from a run's
 * fields (`shapeOfFields`), or from a finished value (`shapeOf`). Pure. Next: `slots.ts`.
 */

import type { Field } from "./fold.ts";

export type Shape =
  | { readonly kind: "object"; readonly entries: readonly (readonly [string, Shape])[]; readonly done: boolean }
  | { readonly kind: "array"; readonly items: readonly Shape[]; readonly done: boolean }
  | { readonly kind: "value"; readonly value: string | number | boolean | null; readonly done: boolean };

/** Deeper values are not drawn: nobody reads them so, and a page must not overflow its stack on a model's text. */
const DEPTH = 60;

/** A finished value; undefined when it is deeper than can be drawn. */
export function shapeOf(value: unknown): Shape | undefined {
  return whole(value, 0);
}

function whole(value: unknown, depth: number): Shape | undefined {
  if (depth > DEPTH) return undefined;
  if (Array.isArray(value)) {
    const items = value.map((item) => whole(item, depth + 1));
    return items.every((item) => item !== undefined) ? { kind: "array", items, done: true } : undefined;
  }
  if (typeof value === "object" && value !== null) {
    const entries: (readonly [string, Shape])[] = [];
    for (const [key, item] of Object.entries(value)) {
      const shape = whole(item, depth + 1);
      if (shape === undefined) return undefined;
      entries.push([key, shape]);
    }
    return { kind: "object", entries, done: true };
  }
  const known = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return { kind: "value", value: known ? value : null, done: true };
}

// -- fields ----------------------------------------------------------------------------------------------

interface Branch {
  readonly children: Map<string, Branch>;
  leaf: Field | undefined;
}

/** The tree that a run's fields have come to; undefined without fields. Numbered keys in order are a list. */
export function shapeOfFields(fields: readonly Field[]): Shape | undefined {
  if (fields.length === 0) return undefined;
  const root: Branch = { children: new Map(), leaf: undefined };
  for (const field of fields) {
    let at = root;
    const keys = field.path === "" ? [] : field.path.replace(/^\//, "").split("/");
    if (keys.length > DEPTH) return undefined;
    for (const key of keys) {
      const name = key.replaceAll("~1", "/").replaceAll("~0", "~");
      let next = at.children.get(name);
      if (next === undefined) at.children.set(name, (next = { children: new Map(), leaf: undefined }));
      at = next;
    }
    at.leaf = field;
  }
  return grown(root);
}

function grown(branch: Branch): Shape {
  const { children, leaf } = branch;
  // The whole value, when it is known, is better than what its parts have come to.
  if (leaf !== undefined && leaf.done && "value" in leaf) {
    return shapeOf(leaf.value) ?? { kind: "value", value: leaf.text, done: true };
  }
  if (children.size > 0) {
    const keys = [...children.keys()];
    const shapes = [...children.values()].map(grown);
    const done = leaf?.done ?? false;
    if (keys.every((key, index) => key === String(index))) return { kind: "array", items: shapes, done };
    return { kind: "object", entries: keys.map((key, index) => [key, shapes[index]!] as const), done };
  }
  return {
    kind: "value",
    value: leaf === undefined || (leaf.done && leaf.text === "") ? null : leaf.text,
    done: leaf?.done ?? false,
  };
}

// -- JSON text that is not finished -------------------------------------------------------------------------

/**
 * What JSON text says so far. A string that is open has what is there of it; a number or a word that may go on
 * is left out, and so is a key without a value. Undefined for text that is not JSON, or is too deep.
 */
export function parsePartial(text: string): Shape | undefined {
  try {
    const reader = new Reader(text);
    const shape = reader.value(0);
    reader.space();
    return reader.at < text.length ? undefined : shape;
  } catch (error) {
    if (error instanceof NotJson) return undefined;
    throw error;
  }
}

class NotJson extends Error {}

class Reader {
  at = 0;
  constructor(readonly text: string) {}

  space(): void {
    while (this.at < this.text.length && " \t\n\r".includes(this.text[this.at]!)) this.at += 1;
  }

  /** The value that begins here; undefined where the text ends before one can be told. */
  value(depth: number): Shape | undefined {
    if (depth > DEPTH) throw new NotJson();
    this.space();
    const char = this.text[this.at];
    if (char === undefined) return undefined;
    if (char === "{") return this.object(depth);
    if (char === "[") return this.array(depth);
    if (char === '"') {
      const { text, done } = this.string();
      return { kind: "value", value: text, done };
    }
    return this.plain();
  }

  private object(depth: number): Shape {
    const entries = new Map<string, Shape>();
    const made = (done: boolean): Shape => ({ kind: "object", entries: [...entries], done });
    this.at += 1;
    for (;;) {
      this.space();
      const char = this.text[this.at];
      if (char === undefined) return made(false);
      if (char === "}") {
        this.at += 1;
        return made(true);
      }
      if (char !== '"') throw new NotJson();
      const key = this.string();
      this.space();
      if (!key.done || this.at >= this.text.length) return made(false);
      if (this.text[this.at] !== ":") throw new NotJson();
      this.at += 1;
      const value = this.value(depth + 1);
      if (value === undefined) return made(false);
      entries.set(key.text, value);
      if (this.over("}")) return made(false);
    }
  }

  private array(depth: number): Shape {
    const items: Shape[] = [];
    this.at += 1;
    for (;;) {
      this.space();
      if (this.text[this.at] === "]") {
        this.at += 1;
        return { kind: "array", items, done: true };
      }
      const value = this.value(depth + 1);
      if (value === undefined) return { kind: "array", items, done: false };
      items.push(value);
      if (this.over("]")) return { kind: "array", items, done: false };
    }
  }

  /** Steps over a comma, or up to the closing mark; true where the text ends first. */
  private over(close: string): boolean {
    this.space();
    const char = this.text[this.at];
    if (char === undefined) return true;
    if (char === ",") this.at += 1;
    else if (char !== close) throw new NotJson();
    return false;
  }

  private string(): { text: string; done: boolean } {
    const start = this.at;
    let end = start + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === "\\" ? 2 : 1;
    const done = end < this.text.length;
    this.at = done ? end + 1 : this.text.length;
    let body = this.text.slice(start + 1, done ? end : undefined);
    // An escape that is cut in half is not there yet.
    if (!done) {
      const half = /(?:^|[^\\])(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)$/.exec(body)?.[1] ?? "";
      body = body.slice(0, body.length - half.length);
    }
    try {
      return { text: JSON.parse(`"${body}"`) as string, done };
    } catch {
      throw new NotJson();
    }
  }

  private plain(): Shape | undefined {
    const found = /[-+.\w]+/y;
    found.lastIndex = this.at;
    const word = found.exec(this.text)?.[0];
    if (word === undefined) throw new NotJson();
    this.at += word.length;
    const open = this.at >= this.text.length;
    try {
      const value = JSON.parse(word) as number | boolean | null;
      // `12` may become `123`; a word that is whole is whole.
      return open && typeof value === "number" ? undefined : { kind: "value", value, done: true };
    } catch {
      if (open) return undefined;
      throw new NotJson();
    }
  }
}
