import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, test } from "vitest";
import { NO_BLOCKS, advance, type Blocks } from "../src/markdown/blocks.ts";
import { heal } from "../src/markdown/heal.ts";
import { Markdown } from "../src/markdown/markdown.tsx";
import { safeHref, visible } from "../src/markdown/render.tsx";

const SAMPLES: Readonly<Record<string, string>> = {
  prose: "One *two* **three** `four`\nfive\n\nsix [seven](https://example.org) eight\n",
  headings: "# A\ntext\n## B\n\ntext\n\nC\n===\n\nlast",
  lists: "1. a\n2. b\n\n   more of b\n3. c\n\n- x\n  - y\n    - z\n\nafter\n\n- [x] done\n- [ ] to do\n",
  code: "before\n```py\nx = 1\n\ny = `2`\n```\nafter\n\n~~~\ntilde ``` inside\n~~~\n````md\n```\nnested\n```\n````\nend",
  "code in a list": "- a\n\n  ```js\n  let x\n  ```\n\n- b\n",
  table: "intro\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n| 3 | 4 |\n\nafter",
  quote: "> one\n> two\n>\n> - three\n\nfour\n\n---\n\nfive",
  "inline that looks like a fence": "text\n```not a fence```\nmore\n\n```open",
  carriage: "a\r\n\r\n```x\r\ny\r\n```\r\nb\r\n",
  html: "<div>\n**bold** <b>not</b>\n</div>\n\n<script>alert(1)</script>\n\n<!-- x -->\n",
};

function grow(text: string, step: number): { blocks: Blocks; steps: Blocks[] } {
  const steps: Blocks[] = [];
  let blocks = NO_BLOCKS;
  for (let length = 0; length < text.length; length += step) {
    blocks = advance(blocks, text.slice(0, length), false);
    steps.push(blocks);
  }
  blocks = advance(blocks, text, false);
  steps.push(blocks);
  return { blocks: advance(blocks, text, true), steps };
}

const html = (text: string) => renderToStaticMarkup(<Markdown text={text} done />);

describe("a growing text ends as if it had come at once", () => {
  for (const [name, text] of Object.entries(SAMPLES)) {
    test.each([1, 2, 3, 7])(`${name}, %i characters at a time`, (step) => {
      const whole = advance(NO_BLOCKS, text, true);
      const { blocks, steps } = grow(text, step);
      expect(blocks.open).toEqual([]);
      expect(blocks.done).toEqual(whole.done);
      for (let index = 1; index < steps.length; index += 1) {
        const before = steps[index - 1]!.done;
        const after = steps[index]!.done;
        before.forEach((block, at) => expect(after[at], "a finished block is made once").toBe(block));
      }
    });
  }
});

test("an open fence is a code block from its first line on", () => {
  const kinds = (text: string) => advance(NO_BLOCKS, text, false).open.map((block) => block.kind);
  expect(kinds("```")).toEqual(["code"]);
  expect(kinds("```py\nx = 1\n\ny = 2")).toEqual(["code"]);
  expect(kinds("text\n\n```py\nx")).toEqual(["code"]);
  expect(advance(NO_BLOCKS, "```py\nx\n``", false).open).toEqual([
    { kind: "code", language: "py", code: "x", closed: false },
  ]);
});

describe("the open end looks as it will look", () => {
  test.each([
    ["some **bo", "some **bo**"],
    ["some **bold*", "some **bold**"],
    ["some **", "some "],
    ["an *it", "an *it*"],
    ["code `x = 1", "code `x = 1`"],
    ["code `", "code "],
    ["a [link](https://exa", "a link"],
    ["a [li", "a li"],
    ["text\n-", "text\n"],
    ["text\n==", "text\n"],
    ["1. a\n2", "1. a\n"],
    ["42", "42"],
    ["# ", ""],
    ["2 * 3 = 6", "2 * 3 = 6"],
    ["all **well** here", "all **well** here"],
  ])("%j", (text, expected) => expect(heal(text)).toBe(expected));
});

describe("what a model says is never more than text", () => {
  test("no element of HTML comes from it", () => {
    const out = html(
      '<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n<a href="javascript:alert(1)">x</a>\n\n<div onclick="x">**b**</div>',
    );
    expect(out).not.toMatch(/<(script|img|iframe|a )/);
    expect(out).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(out).toContain("&lt;img src=x onerror=alert(1)&gt;");
  });

  test("links lead to the web or a mailbox, and images are links", () => {
    const out = html(
      "[a](javascript:alert(1)) [b](JaVaScRiPt&#58;alert(1)) [c](data:text/html,x) [d](/v1/runs) [e](https://example.org) ![f](https://example.org/p.png) <https://example.net> [g](vbscript:x)",
    );
    expect([...out.matchAll(/href="([^"]*)"/g)].map((match) => match[1])).toEqual([
      "https://example.org/",
      "https://example.org/p.png",
      "https://example.net/",
    ]);
    expect(out).not.toContain("<img");
    for (const link of out.match(/<a [^>]*>/g) ?? []) expect(link).toContain('rel="noopener noreferrer nofollow"');
  });

  test("addresses", () => {
    expect(safeHref("mailto:a@example.org")).toBe("mailto:a@example.org");
    expect(safeHref(" \u0001javascript:alert(1)")).toBeUndefined();
    expect(safeHref("//example.org")).toBeUndefined();
    expect(safeHref("https://example.org/?a=1&amp;b=2")).toBe("https://example.org/?a=1&b=2");
  });

  test("control characters are drawn, template slots are text", () => {
    expect(visible("\u001b[31mred\0\n")).toBe("␛[31mred␀\n");
    expect(html("[[slot]] \u001b[0m")).toContain("[[slot]] ␛[0m");
  });

  test("entities are what they stand for, but never markup", () => {
    expect(html("a &lt;b&gt; &amp; &#60;i&#62; &nope; `&lt;`")).toContain(
      "a &lt;b&gt; &amp; &lt;i&gt; &amp;nope; <code>&amp;lt;</code>",
    );
  });
});

describe("text that is hard to parse", () => {
  const hard: Readonly<Record<string, string>> = {
    "a line of a megabyte": "x".repeat(1_000_000),
    "a line of a megabyte in code": "```\n" + "x".repeat(1_000_000) + "\n```\n",
    stars: "*a ".repeat(100_000),
    brackets: "[".repeat(100_000),
    "brackets in lines": "[[[[[[[[\n".repeat(20_000),
    underscores: "_a_".repeat(50_000),
    backticks: "`".repeat(50_000) + " " + "`a``b```".repeat(20_000),
    quotes: ">".repeat(7_000),
    "quotes in lines": ">>>>>>>>>> a\n".repeat(5_000),
    "one paragraph of many lines": "words and words and words\n".repeat(20_000),
    "a list of many items": "- an item with **bold** and `code`\n".repeat(10_000),
    "lists in lists in lists": "- ".repeat(3_900) + "x",
    "quotes in quotes in quotes": "> ".repeat(1_400) + "x",
    "quotes and lists": "> - ".repeat(1_000) + "x",
    "deep by indent": Array.from({ length: 200 }, (_, depth) => " ".repeat(depth * 2) + "- x").join("\n"),
    "links in links": "[".repeat(1_400) + "x" + "](y)".repeat(1_400),
    "stars in stars": "*".repeat(700) + "x" + "*".repeat(700),
    "stars and underscores": "*_".repeat(700) + "x" + "_*".repeat(700),
    "a table of many columns":
      "|a".repeat(3_900) + "\n" + "|-".repeat(3_900) + "\n" + ("|x".repeat(3_900) + "\n").repeat(5),
    surrogates: "🌊".repeat(100_000),
  };
  for (const [name, text] of Object.entries(hard)) {
    test(`${name}: is all there, and is cut into pieces of bounded size`, () => {
      let blocks = NO_BLOCKS;
      for (let length = 50_000; length < text.length; length += 50_000)
        blocks = advance(blocks, text.slice(0, length), false);
      blocks = advance(blocks, text, true);
      const pieces = blocks.done.map((block) =>
        block.kind === "markdown" ? block.raw : block.kind === "code" ? block.code : block.text,
      );
      const kept = pieces.join("").replace(/\s/g, "").length;
      expect(kept).toBeGreaterThanOrEqual(text.replace(/\s|```/g, "").length);
      expect(renderToStaticMarkup(<Markdown text={text} done />)).toMatch(/^<div class="md">/);
      if (name === "surrogates") for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
    }, 20_000);
  }
});
