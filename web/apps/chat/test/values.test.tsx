import { parsePartial, shapeOf, type Shape } from "@headrace/client";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, test } from "vitest";
import { ValueView } from "../src/ui/value-view.tsx";

function drawn(shape: Shape | undefined): string {
  if (shape === undefined) throw new Error("nothing to draw");
  return renderToStaticMarkup(<ValueView shape={shape} />);
}

describe("a value on the page", () => {
  test("objects are forms, flat records are tables, plain things are lists", () => {
    const html = drawn(shapeOf({ name: "Ada", tags: ["a", 1], rows: [{ n: 1 }, { n: 2, more: true }] }));
    expect(html).toContain("<dt>name</dt>");
    expect(html).toContain("<ol");
    expect(html.match(/<th scope="col">(\w+)/g)).toEqual(['<th scope="col">n', '<th scope="col">more']);
    expect(html.match(/<tr>/g)).toHaveLength(3);
  });

  test("nothing, empty and false are told apart", () => {
    expect(drawn(shapeOf(null))).toContain("none");
    expect(drawn(shapeOf(""))).toContain("empty");
    expect(drawn(shapeOf([]))).toContain("empty list");
    expect(drawn(shapeOf({}))).toContain("empty");
    expect(drawn(shapeOf(false))).toContain("false");
    expect(drawn(shapeOf(0))).toContain(">0<");
  });

  test("what is being written is marked, and only that", () => {
    const html = drawn(parsePartial('{"a": "done", "b": "half'));
    expect(html.match(/data-open="true">([^<]*)/g)).toEqual(['data-open="true">half']);
  });

  test("names and words of a model are text", () => {
    const html = drawn(shapeOf({ "<script>": ["<img src=x>", { "\u001b[31m": "\u0000" }] }));
    expect(html).not.toMatch(/<script|<img|\u001b|\u0000/);
    expect(html).toContain("&lt;script&gt;");
    expect(html).toContain("␛[31m");
    expect(html).toContain("␀");
  });

  test("of what is very long the rest is counted", () => {
    const html = drawn(shapeOf(Array.from({ length: 5_000 }, (_, n) => n)));
    expect(html).toContain("… 4,800 more");
    expect(html.match(/<li/g)).toHaveLength(200);
    expect(drawn(shapeOf(Array.from({ length: 1_000 }, (_, n) => ({ n }))))).toContain("… 800 more");
  });
});
