import { describe, expect, test } from "vitest";
import type { Field } from "../src/fold.ts";
import { parsePartial, shapeOf, shapeOfFields, type Shape } from "../src/shape.ts";

/** A shape as the plain value it stands for; what is open ends in an ellipsis. */
function plain(shape: Shape | undefined): unknown {
  if (shape === undefined) return undefined;
  if (shape.kind === "array") return [...shape.items.map(plain), ...(shape.done ? [] : ["…"])];
  if (shape.kind === "object") {
    const entries = shape.entries.map(([key, value]) => [key, plain(value)] as const);
    return Object.fromEntries(shape.done ? entries : [...entries, ["…", "…"]]);
  }
  return shape.done ? shape.value : `${shape.value}…`;
}

describe("JSON that is cut off", () => {
  const whole = { name: 'a "b" \\ ü 🌊\n', n: [1, -2.5e3, true, null, {}], o: { p: { q: [] } } };

  test("whole JSON is what JSON.parse says", () => {
    expect(plain(parsePartial(JSON.stringify(whole)))).toEqual(whole);
    expect(plain(parsePartial(JSON.stringify(whole, null, 2) + "\n"))).toEqual(whole);
    expect(plain(shapeOf(whole))).toEqual(whole);
  });

  test("every cut of it can be shown, and strings only grow", () => {
    const text = JSON.stringify(whole).replace("🌊", "\\ud83c\\udf0a");
    let name = "";
    for (let cut = 1; cut <= text.length; cut += 1) {
      const shape = parsePartial(text.slice(0, cut));
      expect(shape, text.slice(0, cut)).toBeDefined();
      if (shape?.kind !== "object") throw new Error("not an object");
      const first = shape.entries[0]?.[1];
      const now = first?.kind === "value" ? String(first.value) : "";
      // Half of a surrogate pair becomes the whole one.
      expect(now.startsWith(name.replace(/[\ud800-\udbff]$/, ""))).toBe(true);
      name = now;
    }
    expect(name).toBe(whole.name);
  });

  test.each([
    ['{"a":1', { "…": "…" }],
    ['{"a":1,', { a: 1, "…": "…" }],
    ['{"a":tr', { "…": "…" }],
    ['{"a":true', { a: true, "…": "…" }],
    ['{"a":"x\\', { a: "x…", "…": "…" }],
    ['{"a":"x\\b', { a: "x\b…", "…": "…" }],
    ['{"a":"x\\u00e', { a: "x…", "…": "…" }],
    ['{"a":"x\\\\u00e', { a: "x\\u00e…", "…": "…" }],
    ['{"a":[1,2', { a: [1, "…"], "…": "…" }],
    ["", undefined],
    ["  ", undefined],
  ])("%s", (text, expected) => {
    expect(plain(parsePartial(text))).toEqual(expected);
  });

  test.each(["hello", "{a:1}", '{"a" 1}', "[1 2]", '{"a":1}}', '{"a":nope}', "[".repeat(100), '"a\nb"'])(
    "%s is not drawn as JSON",
    (text) => expect(parsePartial(text)).toBeUndefined(),
  );
});

describe("fields", () => {
  const field = (path: string, more: Partial<Field> = {}): Field => ({ path, text: "", done: false, ...more });

  test("a tree from pointers; numbers in order are a list", () => {
    const fields = [
      field("/title", { text: "The mi" }),
      field("/rows/0/n", { value: 1, done: true }),
      field("/rows/1/n", { value: 2, done: true }),
      field("/a~1b/c~0d", { value: false, done: true }),
    ];
    expect(plain(shapeOfFields(fields))).toEqual({
      title: "The mi…",
      rows: [{ n: 1, "…": "…" }, { n: 2, "…": "…" }, "…"],
      "a/b": { "c~d": false, "…": "…" },
      "…": "…",
    });
  });

  test("a value that is known is taken as it is, and a bare one has no name", () => {
    expect(plain(shapeOfFields([field("/a", { value: { b: [1] }, done: true })]))).toEqual({ a: { b: [1] }, "…": "…" });
    expect(plain(shapeOfFields([field("", { text: "so far" })]))).toBe("so far…");
    expect(shapeOfFields([])).toBeUndefined();
    expect(shapeOfFields([field("/a".repeat(200))])).toBeUndefined();
  });
});
