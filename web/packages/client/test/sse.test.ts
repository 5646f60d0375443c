import { describe, expect, test } from "vitest";
import { sseParser, type SseFrame } from "../src/sse.ts";

const encoder = new TextEncoder();

function whole(text: string): SseFrame[] {
  return sseParser().feed(encoder.encode(text));
}

/** The frames of `bytes` cut at every given place. */
function cut(bytes: Uint8Array, ...at: number[]): SseFrame[] {
  const parser = sseParser();
  const frames: SseFrame[] = [];
  let from = 0;
  for (const to of [...at, bytes.length]) {
    frames.push(...parser.feed(bytes.subarray(from, to)));
    from = to;
  }
  return frames;
}

const SAMPLES: Readonly<Record<string, string>> = {
  "line feeds": "id: r.1\ndata: one\n\ndata: two\n\n",
  "carriage returns": "id: r.1\rdata: one\r\rdata: two\r\r",
  both: "id: r.1\r\ndata: one\r\n\r\ndata: two\r\n\r\n",
  mixed: "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\n",
  "a mark at the start": "\uFEFFdata: one\n\n",
  "many bytes a character": "id: ü\ndata: Grüße, 世界 🌊\n\n: ♥\ndata: ✓\n\n",
  "comments and fields without a colon": ": hi\ndata\ndata:x\n:\nfoo: bar\n\nretry: 250\nevent: e\ndata:  two\n\n",
};

describe("any cut gives the same frames", () => {
  for (const [name, text] of Object.entries(SAMPLES)) {
    test(name, () => {
      const bytes = encoder.encode(text);
      const expected = whole(text);
      expect(expected.length).toBeGreaterThan(0);
      expect(cut(bytes, ...bytes.keys())).toEqual(expected);
      for (let at = 0; at <= bytes.length; at += 1) expect(cut(bytes, at)).toEqual(expected);
    });
  }
});

test("text and bytes give the same", () => {
  for (const text of Object.values(SAMPLES)) expect(sseParser().feed(text)).toEqual(whole(text));
});

test("data lines are joined by a line feed, one space is dropped, the event has a name", () => {
  expect(whole("event: e\nid: 7\ndata: a\ndata:  b\ndata:\n\n")).toEqual([{ event: "e", data: "a\n b\n", id: "7" }]);
});

test("an event without its blank line is not an event", () => {
  expect(whole("data: one\n\ndata: two\n")).toEqual([{ event: "message", data: "one", id: "" }]);
});

test("an id with NUL is ignored; an id without data moves the cursor and is no event", () => {
  const parser = sseParser();
  expect(parser.feed("id: 1\ndata: x\n\nid: 2\0\ndata: y\n\nid: 3\n\n")).toEqual([
    { event: "message", data: "x", id: "1" },
    { event: "message", data: "y", id: "1" },
  ]);
  expect(parser.lastEventId).toBe("3");
});

test("an id counts only when its event is complete", () => {
  const parser = sseParser();
  parser.feed("id: 1\ndata: x\n\nid: 2\ndata: y\n");
  expect(parser.lastEventId).toBe("1");
});

test("retry must be digits", () => {
  const parser = sseParser();
  parser.feed("retry: 250\n\nretry: 2s\n\n");
  expect(parser.retry).toBe(250);
});

test("an empty event name is forgotten with its event", () => {
  expect(whole("event: e\n\ndata: x\n\n")).toEqual([{ event: "message", data: "x", id: "" }]);
});

test("a long line in many pieces is one line", () => {
  const parser = sseParser();
  const frames: SseFrame[] = parser.feed("data: ");
  for (let count = 0; count < 20_000; count += 1) frames.push(...parser.feed("x".repeat(50)));
  frames.push(...parser.feed("\n\n"));
  expect(frames.map((frame) => frame.data.length)).toEqual([1_000_000]);
});

test("a line without end is refused", () => {
  const parser = sseParser();
  const piece = "x".repeat(8 * 1024 * 1024);
  expect(() => {
    for (let count = 0; count < 8; count += 1) parser.feed(piece);
  }).toThrow(RangeError);
});
