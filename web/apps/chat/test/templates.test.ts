import { StringStream } from "@codemirror/language";
import { describe, expect, test } from "vitest";
import { DocStore, MOST, asText, valuesOf } from "../src/templates/docs.ts";
import { layout, parseGraph } from "../src/templates/graph.ts";
import { offers, startState, token } from "../src/templates/language.ts";
import { SAMPLES } from "../src/templates/samples.ts";
import { pack, unpack } from "../src/templates/share.ts";

/** The tokens of a text that are no plain text: `style:text`. */
function styled(text: string): string[] {
  const state = startState();
  const out: string[] = [];
  for (const line of text.split("\n")) {
    const stream = new StringStream(line, 2, 2);
    for (let steps = 0; !stream.eol(); steps += 1) {
      const style = token(stream, state);
      expect(stream.pos, `no token at ${stream.pos} of ${line}`).toBeGreaterThan(stream.start);
      if (style !== null && stream.current().trim() !== "") out.push(`${style}:${stream.current()}`);
      stream.start = stream.pos;
      expect(steps).toBeLessThan(1_000);
    }
  }
  return out;
}

describe("the colours of a template", () => {
  test("slots, types, counts, options", () => {
    expect(styled('[[!int{2,5}:n|min=1,"a, b",{{x}},not-at-all]]')).toEqual([
      "slot bracket:[[",
      "slot operator:!",
      "slot typeName:int",
      "slot operator:{2,5}",
      "slot punctuation::",
      "slot slotName:n",
      "slot punctuation:|",
      "slot propertyName:min",
      "slot punctuation:=",
      "slot number:1",
      "slot punctuation:,",
      'slot string:"a, b"',
      "slot punctuation:,",
      "expression bracket:{{",
      "expression variableName:x",
      "expression bracket:}}",
      "slot punctuation:,",
      "slot string:not-at-all",
      "slot bracket:]]",
    ]);
    expect(styled("[[title]] [[@set|x=1]]")).toContain("slot slotName:title");
    expect(styled("[[@set|x=1]]").slice(1, 3)).toEqual(["slot action:@", "slot action:set"]);
  });

  test("Jinja, raw, tags, comments over lines, and what a backslash makes text", () => {
    expect(styled("{% for p in people %}{{ p.name | upper }}{%- endfor -%}")).toEqual([
      "statement bracket:{%",
      "statement keyword:for",
      "statement variableName:p",
      "statement keyword:in",
      "statement variableName:people",
      "statement bracket:%}",
      "expression bracket:{{",
      "expression variableName:p",
      "expression operator:.",
      "expression propertyName:name",
      "expression operator:|",
      "expression filter:upper",
      "expression bracket:}}",
      "statement bracket:{%-",
      "statement keyword:endfor",
      "statement bracket:-%}",
    ]);
    expect(styled('<system local>x</system><include src="a.md"/>')).toEqual([
      "tagName:<system",
      "propertyName:local",
      "tagName:>",
      "tagName:</system",
      "tagName:>",
      "tagName:<include",
      "propertyName:src",
      'string:"a.md"',
      "tagName:/>",
    ]);
    expect(styled("<!-- a [[b]]\n c --> [[d]]").slice(0, 4)).toEqual([
      "comment:<!--",
      "comment: a [[b]]",
      "comment: c -->",
      "slot bracket:[[",
    ]);
    expect(styled("{% raw %}[[a]]{{ b }}{% endraw %}[[c]]").filter((one) => one.includes("slotName"))).toEqual([
      "slot slotName:c",
    ]);
    expect(styled("\\[[a]] <b>html</b>")).toEqual(["escape:\\[["]);
    expect(styled("# Head [[a]]")[0]).toBe("heading:# Head ");
  });

  test("text that is not finished never stops it", () => {
    for (const text of [
      "[[",
      "[[!int{2",
      "[[a|b='",
      "{{ 'x",
      "{% if",
      "<system ",
      "<!-- ",
      "{#",
      "\\",
      "[[a|{{ b",
      "\\[[",
    ])
      styled(`${text}\nmore ${text}`);
    for (const sample of SAMPLES) styled(sample.text);
  });
});

describe("what is offered at the cursor", () => {
  const TEXT = "{{ story | upper }} [[title]] [[int{2}:minutes|min=1]] [[@timestamp:now]] {{ 1 + x }}";
  const labels = (before: string) => offers(before, TEXT)?.options.map((option) => option.label);

  test("types, actions, options, names and tags, each in its place", () => {
    expect(labels("a [[")).toContain("pick");
    expect(offers("a [[!du", "")).toMatchObject({ typed: "du" });
    expect(labels("[[@")).toEqual(["set", "break", "timestamp", "history"]);
    expect(labels("[[int:n|min=1,")).toContain("max_length");
    expect(labels("{{ ")).toEqual(["minutes", "now", "story", "title"]);
    expect(labels("{% if sc")).toEqual(["minutes", "now", "story", "title"]);
    expect(labels("</to")).toContain("together");
  });

  test.each(["", "text", "[[int:n", "[[int:n]] ", "{{ a }} ", "[[int:n|min=", "a < b"])("nothing after %s", (before) =>
    expect(labels(before)).toBeUndefined(),
  );
});

describe("the graph", () => {
  const TEXT = `flowchart TD
  v0(["te&quot;xt"])
  s0["Claim<br/>claim: text"]
  s1["Quote<br/>quote: text<br/>n: int"]
  s2["Segment 3<br/>author: record"]
  v0 --> s0
  v0 --> s1
  s0 -->|claim| s2
  s1 --> s2
`;

  test("is read from the server's Mermaid", () => {
    const graph = parseGraph(TEXT);
    expect(graph.nodes.map(({ id, kind, title }) => [id, kind, title])).toEqual([
      ["v0", "variable", 'te"xt'],
      ["s0", "segment", "Claim"],
      ["s1", "segment", "Quote"],
      ["s2", "segment", "Segment 3"],
    ]);
    expect(graph.nodes[2]!.rows).toEqual([
      { name: "quote", type: "text" },
      { name: "n", type: "int" },
    ]);
    expect(graph.edges).toHaveLength(4);
    expect(graph.edges[2]).toEqual({ from: "s0", to: "s2", label: "claim" });
    expect(parseGraph("")).toEqual({ nodes: [], edges: [] });
  });

  test("what needs something stands right of it, and nothing lies on another", () => {
    const { nodes, lines, width, height } = layout(parseGraph(TEXT));
    const at = new Map(nodes.map((node) => [node.id, node]));
    for (const line of lines) expect(at.get(line.from)!.x + at.get(line.from)!.width).toBeLessThan(at.get(line.to)!.x);
    for (const a of nodes) {
      expect(a.x + a.width).toBeLessThanOrEqual(width);
      expect(a.y + a.height).toBeLessThanOrEqual(height);
      for (const b of nodes) {
        if (a !== b && a.x === b.x) expect(a.y + a.height <= b.y || b.y + b.height <= a.y).toBe(true);
      }
    }
    expect(layout({ nodes: [], edges: [] })).toMatchObject({ nodes: [], lines: [] });
  });

  test("a circle or a line to nowhere does not hang it", () => {
    const graph = parseGraph('s0["A"]\ns1["B"]\ns0 --> s1\ns1 --> s0\ns1 --> s9');
    expect(layout(graph).nodes).toHaveLength(2);
  });
});

describe("links", () => {
  const SHARED = { name: "Ü", text: "{{ a }} [[b]] 🌊\n", inputs: { a: { text: '<b> "]]"', json: false } } };

  test("hold what was put in, in letters of a URL", async () => {
    const packed = await pack(SHARED);
    expect(packed).toMatch(/^[\w-]+$/);
    expect(await unpack(packed)).toEqual({ ...SHARED, inputs: { a: SHARED.inputs.a } });
  });

  test("a link that is cut off, foreign, or unpacks to too much is refused in words", async () => {
    const packed = await pack(SHARED);
    await expect(unpack(packed.slice(0, -6))).rejects.toThrow("holds no template");
    await expect(unpack("%%%")).rejects.toThrow("was not made here");
    await expect(unpack(await pack({ ...SHARED, text: 1 as unknown as string }))).rejects.toThrow("holds no template");
    const bomb = await pack({ ...SHARED, text: "x".repeat(3_000_000) });
    expect(bomb.length).toBeLessThan(10_000);
    await expect(unpack(bomb)).rejects.toThrow("too long");
  });
});

describe("what is kept", () => {
  function storage(first?: string) {
    const map = new Map(first === undefined ? [] : [["headrace:templates", first]]);
    return {
      getItem: (key: string) => map.get(key) ?? null,
      setItem: (key: string, value: string) => void map.set(key, value),
    };
  }

  test("templates, the changed one first, over a reload", () => {
    const kept = storage();
    let now = 1;
    const store = new DocStore(kept, () => now++);
    const one = store.add({ name: "One", text: "1" });
    const two = store.add({ name: "Two", text: "2" });
    store.change(one.id, { text: "1!", run: "run_1" });
    expect(store.getSnapshot().map((doc) => doc.name)).toEqual(["One", "Two"]);
    const again = new DocStore(kept);
    expect(again.get(one.id)).toMatchObject({ text: "1!", run: "run_1" });
    again.change(one.id, { name: "1st" });
    expect(again.get(one.id)).toMatchObject({ name: "1st", run: "run_1" });
    again.change(one.id, { run: undefined });
    expect("run" in again.get(one.id)!).toBe(false);
    again.remove(two.id);
    store.takeOver("headrace:templates");
    expect(store.getSnapshot()).toHaveLength(1);
    for (let count = 0; count < MOST + 5; count += 1) store.add({ name: "x", text: "" });
    expect(store.getSnapshot()).toHaveLength(MOST);
  });

  test.each(["{", "null", "3", '[null, {"id": 1}, {"id": "a"}]'])("storage with %s in it is no template", (text) => {
    expect(new DocStore(storage(text)).getSnapshot()).toEqual([]);
  });

  test("a full storage does not lose what is open", () => {
    const store = new DocStore({
      getItem: () => null,
      setItem: () => {
        throw new Error("full");
      },
    });
    expect(store.get(store.add({ name: "a", text: "b" }).id)?.text).toBe("b");
  });

  test("values to send: text as it is, JSON as what it says, nothing for what is empty", () => {
    const inputs = {
      a: { text: "[1]", json: false },
      b: { text: "[1]", json: true },
      c: { text: "", json: true },
      d: { text: "[1", json: true },
      unused: { text: "x", json: false },
    };
    const { values, problems } = valuesOf(["a", "b", "c", "d", "e"], inputs);
    expect(values).toEqual({ a: "[1]", b: [1] });
    expect(Object.keys(problems)).toEqual(["d"]);
  });

  test("a text never looks like the name of a kept template", () => {
    expect([asText("hello"), asText("hello\n")]).toEqual(["hello\n", "hello\n"]);
  });
});
