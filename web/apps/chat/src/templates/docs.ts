/**
 * The person's templates, kept in this browser: text, values of the inputs, and the last run of each.
 *
 * Next: `share.ts`, which puts one into an address.
 */

/** What stands in a field of the inputs panel. */
export interface Input {
  readonly text: string;
  /** Whether the text is JSON, so that the value may be a list or a number. */
  readonly json: boolean;
}

export interface Doc {
  readonly id: string;
  readonly name: string;
  readonly text: string;
  readonly inputs: Readonly<Record<string, Input>>;
  /** The run that is shown with it, also after a reload. */
  readonly run?: string;
  readonly updated: number;
}

export interface DocStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

const KEY = "headrace:templates";
/** More are forgotten, the oldest first: the storage of a page is small. */
export const MOST = 100;

export class DocStore {
  readonly #storage: DocStorage;
  readonly #listeners = new Set<() => void>();
  readonly #now: () => number;
  #docs: readonly Doc[];

  constructor(storage: DocStorage, now: () => number = Date.now) {
    this.#storage = storage;
    this.#now = now;
    this.#docs = this.#read();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** All of them, the one changed last first. */
  readonly getSnapshot = (): readonly Doc[] => this.#docs;

  get(id: string | undefined): Doc | undefined {
    return this.#docs.find((doc) => doc.id === id);
  }

  add(from: { readonly name: string; readonly text: string; readonly inputs?: Doc["inputs"] }): Doc {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(36).padStart(2, "0")).join(
      "",
    );
    const doc: Doc = { id, name: from.name, text: from.text, inputs: from.inputs ?? {}, updated: this.#now() };
    this.#write([doc, ...this.#docs].slice(0, MOST));
    return doc;
  }

  change(
    id: string,
    change: Partial<Pick<Doc, "name" | "text" | "inputs">> & { readonly run?: string | undefined },
  ): void {
    const doc = this.get(id);
    if (doc === undefined) return;
    const { run: _before, ...rest } = doc;
    const { run = "run" in change ? undefined : doc.run, ...others } = change;
    const next: Doc = { ...rest, ...others, ...(run === undefined ? {} : { run }), updated: this.#now() };
    this.#write([next, ...this.#docs.filter((other) => other.id !== id)]);
  }

  remove(id: string): void {
    this.#write(this.#docs.filter((doc) => doc.id !== id));
  }

  /** Another tab wrote. */
  takeOver(key: string | null): void {
    if (key !== KEY && key !== null) return;
    this.#docs = this.#read();
    for (const listener of this.#listeners) listener();
  }

  #read(): readonly Doc[] {
    try {
      const found: unknown = JSON.parse(this.#storage.getItem(KEY) ?? "[]");
      return Array.isArray(found) ? found.map(docFrom).filter((doc) => doc !== undefined) : [];
    } catch {
      return [];
    }
  }

  #write(docs: readonly Doc[]): void {
    this.#docs = docs;
    try {
      this.#storage.setItem(KEY, JSON.stringify(docs));
    } catch {
      // A full storage: what is open holds until the page is closed.
    }
    for (const listener of this.#listeners) listener();
  }
}

/** What storage has may be from another version, or from somebody's hand. */
function docFrom(value: unknown): Doc | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, name, text, inputs, run, updated } = value as Record<string, unknown>;
  if (typeof id !== "string" || typeof text !== "string") return undefined;
  return {
    id,
    name: typeof name === "string" ? name : "Untitled",
    text,
    inputs: inputsFrom(inputs),
    ...(typeof run === "string" ? { run } : {}),
    updated: typeof updated === "number" ? updated : 0,
  };
}

export function inputsFrom(value: unknown): Record<string, Input> {
  const out: Record<string, Input> = Object.create(null) as Record<string, Input>;
  if (typeof value !== "object" || value === null) return out;
  for (const [name, input] of Object.entries(value)) {
    const { text, json } = (typeof input === "object" && input !== null ? input : {}) as Record<string, unknown>;
    if (typeof text === "string") out[name] = { text, json: json === true };
  }
  return out;
}

/** The values to send. `problems` has the fields whose JSON is none. What is empty is not sent. */
export function valuesOf(
  names: readonly string[],
  inputs: Doc["inputs"],
): { readonly values: Record<string, unknown>; readonly problems: Readonly<Record<string, string>> } {
  const values: Record<string, unknown> = {};
  const problems: Record<string, string> = {};
  for (const name of names) {
    const input = inputs[name];
    if (input === undefined || input.text === "") continue;
    if (!input.json) {
      values[name] = input.text;
      continue;
    }
    try {
      values[name] = JSON.parse(input.text);
    } catch (error) {
      problems[name] = error instanceof Error ? error.message : String(error);
    }
  }
  return { values, problems };
}

/** A text for the server: what ends without a line break may look like the name of a kept template. */
export function asText(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}
