/**
 * A growing text, cut into Markdown blocks, so that a page draws a finished block once.
 *
 * `advance(state, text, done)` is pure: it parses only what follows the last finished block. A
 * block is finished when a later block has a whole line, because no Markdown construct reaches back
 * over one. Fenced code at the start of a line is found here and not by the parser, so that an open
 * fence is a code block from its first line on, however long it gets.
 *
 * What would make a Markdown parser slow (a line of a megabyte, thousands of stars) is shown as
 * plain text. Raw HTML is no construct here at all: `<script>` is text like any other.
 * Turning tokens into elements is `render.tsx`.
 */

import { Marked, type Token } from "marked";
import { heal } from "./heal.ts";

export type Block =
  | { readonly kind: "markdown"; readonly token: Token; readonly raw: string }
  | { readonly kind: "code"; readonly language: string; readonly code: string; readonly closed: boolean }
  | { readonly kind: "plain"; readonly text: string };

export interface Blocks {
  /** How much of the text is in `done` blocks. */
  readonly offset: number;
  /** Finished; each object is made once. */
  readonly done: readonly Block[];
  /** Still changing; made anew with every call. */
  readonly open: readonly Block[];
  readonly text: string;
  readonly closed: boolean;
}

export const NO_BLOCKS: Blocks = { offset: 0, done: [], open: [], text: "", closed: false };

/** Longer lines are no prose, and inline parsing costs more than its length. */
const LONG_LINE = 8_000;
/** A piece of plain text that is drawn on its own. */
const PLAIN_PIECE = 8_000;
/** Prose without a finished block for longer than this is cut, to keep the work of each frame small. */
const LONG_BLOCK = 40_000;
/** More marks than this in one paragraph are an attack or noise, not emphasis. */
const MANY_MARKS = 1_500;

/** Lists in quotes in lists, on one line, deeper than anybody writes: a parser goes down into each. */
const DEEP = /^[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]*){32}(?![-*_ \t]*$)/m;

const parser = new Marked({
  gfm: true,
  tokenizer: {
    // Not "no HTML allowed" but "there is no HTML": it falls through to text.
    html: () => undefined,
    tag: () => undefined,
  },
});

export function advance(state: Blocks, grown: string, closed: boolean): Blocks {
  const text = grown.includes("\r") ? grown.replace(/\r\n?/g, "\n") : grown;
  if (text === state.text && closed === state.closed) return state;
  const fresh = !text.startsWith(state.text.slice(0, 64)) || text.length < state.offset;
  const done: Block[] = fresh ? [] : state.done.slice();
  let offset = fresh ? 0 : state.offset;
  let open: Block[] = [];

  while (offset < text.length) {
    const rest = text.slice(offset);
    const step = fencedCode(rest, closed) ?? longLine(rest, closed) ?? prose(rest, closed);
    done.push(...step.done);
    offset += step.length;
    open = step.open;
    if (step.length === 0 || open.length > 0) break;
  }
  return { offset, done, open, text, closed };
}

interface Step {
  readonly done: readonly Block[];
  /** How much of the text the finished blocks cover. */
  readonly length: number;
  readonly open: Block[];
}

const FENCE = /^(?:(`{3,})([^`\n]*)|(~{3,})([^\n]*))(\n|$)/;

function fencedCode(rest: string, closed: boolean): Step | undefined {
  const fence = FENCE.exec(rest);
  if (fence === null) return undefined;
  const mark = (fence[1] ?? fence[3])!;
  const language = ((fence[2] ?? fence[4])!.trim().split(/\s+/)[0] ?? "").toLowerCase();
  const from = fence[0].length;
  const end = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}[ \\t]*(\\n|$)`, "m");
  const body = rest.slice(from);
  const close = fence[5] === "\n" ? end.exec(body) : null;
  if (close !== null) {
    const block: Block = { kind: "code", language, code: body.slice(0, close.index).replace(/\n$/, ""), closed: true };
    // Without its line's end the fence may still turn out to be something else.
    if (close[1] === "\n" || closed) return { done: [block], length: from + close.index + close[0].length, open: [] };
    return { done: [], length: 0, open: [block] };
  }
  // What may be the beginning of the closing fence is held back, or it would flash as code.
  const code = closed ? body : body.replace(/(^|\n) {0,3}[`~]{0,9}$/, "");
  const block: Block = { kind: "code", language, code: code.replace(/\n$/, ""), closed };
  return closed ? { done: [block], length: rest.length, open: [] } : { done: [], length: 0, open: [block] };
}

/** A line too long to be parsed: shown as it is, in pieces that are drawn once. */
function longLine(rest: string, closed: boolean): Step | undefined {
  const newline = rest.indexOf("\n");
  const length = newline < 0 ? rest.length : newline;
  if (length < LONG_LINE) return undefined;
  return plain(rest, newline < 0 ? rest.length : newline + 1, newline >= 0 || closed);
}

function plain(rest: string, length: number, whole: boolean): Step {
  const done: Block[] = [];
  let at = 0;
  while (length - at > PLAIN_PIECE || (whole && at < length)) {
    let to = Math.min(at + PLAIN_PIECE, length);
    // Never between the two halves of a surrogate pair.
    if (to < length && (rest.charCodeAt(to - 1) & 0xfc00) === 0xd800) to += 1;
    done.push({ kind: "plain", text: rest.slice(at, to) });
    at = to;
  }
  return { done, length: at, open: at < length ? [{ kind: "plain", text: rest.slice(at, length) }] : [] };
}

function prose(rest: string, closed: boolean): Step {
  const cut = nextCut(rest, closed);
  const region = rest.slice(0, cut.at);
  const whole = cut.sure || (closed && cut.at === rest.length);
  if (mostMarks(region) > MANY_MARKS || DEEP.test(region)) return plain(region, region.length, true);

  const tokens = parser.lexer(whole ? region : heal(region));
  const blocks: Block[] = [];
  let length = 0; // of the finished blocks
  let finished = 0; // how many of `blocks` they are
  let at = 0;
  for (const token of tokens) {
    if (token.type !== "space") {
      const first = at + (token.raw.length - token.raw.trimStart().length);
      if (region.indexOf("\n", first) >= 0) {
        finished = blocks.length;
        length = at;
      }
      blocks.push({ kind: "markdown", token, raw: token.raw });
    }
    at += token.raw.length;
  }
  if (whole) return { done: blocks, length: region.length, open: [] };
  const open = blocks.slice(finished);
  // After the region comes what may be a fence; it is shown as one, but nothing relies on it yet.
  if (cut.at < rest.length) open.push(...(fencedCode(rest.slice(cut.at), closed)?.open ?? []));
  return { done: blocks.slice(0, finished), length, open };
}

interface Cut {
  readonly at: number;
  /** Nothing that comes later can join what is before the cut to what is after it. */
  readonly sure: boolean;
}

/** Where the prose ends: at a fence at the start of a line, before a long line, or with the text. */
function nextCut(rest: string, closed: boolean): Cut {
  let line = 0;
  while (line < rest.length) {
    if (line > LONG_BLOCK) {
      const at = quietPlace(rest.slice(0, line));
      if (at > 0) return { at, sure: true };
    }
    const newline = rest.indexOf("\n", line);
    const end = newline < 0 ? rest.length : newline;
    if (line > 0) {
      if (end - line >= LONG_LINE) return { at: line, sure: true };
      const start = rest[line];
      if ((start === "`" || start === "~") && FENCE.test(rest.slice(line, end + 1))) {
        return { at: line, sure: newline >= 0 || closed };
      }
    }
    if (newline < 0) break;
    line = newline + 1;
  }
  return { at: rest.length, sure: false };
}

/** Where a cut splits the least: the last line that begins at the margin, after an empty one if there is one. */
function quietPlace(text: string): number {
  let flush = -1;
  for (let at = text.lastIndexOf("\n", text.length - 2); at > 0; at = text.lastIndexOf("\n", at - 1)) {
    if (/\s/.test(text[at + 1]!)) continue;
    if (flush < 0) flush = at + 1;
    if (text[at - 1] === "\n") return at + 1;
    if (at < text.length / 2) break;
  }
  return flush;
}

/** The most marks in one paragraph, which is about what a parser has to match with each other. */
function mostMarks(text: string): number {
  let most = 0;
  for (const paragraph of text.split(/\n(?=\s*(?:\n|[-*+#|] |\d+[.)] ))/)) most = Math.max(most, countMarks(paragraph));
  return most;
}

function countMarks(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index += 1) {
    switch (text.charCodeAt(index)) {
      case 42: // *
      case 95: // _
      case 126: // ~
      case 96: // `
      case 91: // [
      case 93: // ]
      case 60: // <
      case 62: // >
      case 92: // \
        count += 1;
    }
  }
  return count;
}
