/**
 * The template language for the editor: slots, actions, Jinja, tags and comments in colours.
 *
 * It colours what the server's scanner would see as a mark and never judges: what is wrong is the server's to
 * say. A stream parser is enough, as marks do not nest but for `{{ … }}` inside a slot.
 */

import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { HighlightStyle, StreamLanguage, syntaxHighlighting, type StringStream } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { Tag, tags } from "@lezer/highlight";

const TAGS = "system|header|user|assistant|checkpoint|obliviate|together|include";
const TAG = new RegExp(`^</?(?:${TAGS})(?=[\\s/>])`);
const ESCAPE = new RegExp(`^\\\\(?=\\[\\[|\\{\\{|\\{%|\\{#|</?(?:${TAGS})\\b)`);
const WORDS = new Set(
  "if elif else endif for endfor in set endset raw endraw not and or is filter endfilter with endwith recursive".split(
    " ",
  ),
);
const ATOMS = new Set("true false none True False None loop".split(" "));

export interface State {
  mode: "text" | "comment" | "slot" | "options" | "jinja" | "tag" | "raw";
  /** What ends a comment, or Jinja. */
  end: string;
  /** Where Jinja goes back to. */
  back: "text" | "options";
  /** In Jinja or in options: the quote that is open. */
  quote: string;
  action: boolean;
  heading: boolean;
}

export function startState(): State {
  return { mode: "text", end: "", back: "text", quote: "", action: false, heading: false };
}

/** One token: moves the stream on and says what it was. Names of two words have two styles. */
export function token(stream: StringStream, state: State): string | null {
  switch (state.mode) {
    case "text":
      return text(stream, state);
    case "comment":
      if (stream.skipTo(state.end)) {
        stream.match(state.end);
        state.mode = "text";
      } else stream.skipToEnd();
      return "comment";
    case "raw":
      if (stream.match(/^\{%-?\s*endraw\s*-?%\}/)) {
        state.mode = "text";
        return "statement";
      }
      stream.next();
      stream.eatWhile(/[^{]/);
      return null;
    case "slot":
      return slot(stream, state);
    case "options":
      return options(stream, state);
    case "jinja":
      return jinja(stream, state);
    case "tag":
      return tag(stream, state);
  }
}

function text(stream: StringStream, state: State): string | null {
  if (stream.sol()) {
    state.heading = /^#{1,6}\s/.test(stream.string);
  }
  if (stream.match(ESCAPE)) {
    stream.next();
    stream.next();
    return "escape";
  }
  if (stream.match("<!--") || stream.match("{#")) {
    state.mode = "comment";
    state.end = stream.current() === "{#" ? "#}" : "-->";
    return "comment";
  }
  if (stream.match(/^\{%-?\s*raw\s*-?%\}/)) {
    state.mode = "raw";
    return "statement";
  }
  if (stream.match("[[")) {
    state.mode = "slot";
    state.action = false;
    return "slot bracket";
  }
  if (stream.match("{{") || stream.match("{%")) {
    state.end = stream.current() === "{{" ? "}}" : "%}";
    state.mode = "jinja";
    state.back = "text";
    stream.eat("-");
    return state.end === "}}" ? "expression bracket" : "statement bracket";
  }
  if (stream.match(TAG)) {
    state.mode = "tag";
    return "tagName";
  }
  stream.next();
  stream.eatWhile(/[^\\<[{]/);
  return state.heading ? "heading" : null;
}

function slot(stream: StringStream, state: State): string | null {
  if (ended(stream, state, "]]", "text")) return "slot bracket";
  if (stream.eatSpace()) return "slot";
  if (stream.eat("|")) {
    state.mode = "options";
    return "slot punctuation";
  }
  if (stream.eat("@")) {
    state.action = true;
    return "slot action";
  }
  if (stream.eat("!") || stream.match(/^(?:[*+?]|\{\d*,?\d*\})/)) return "slot operator";
  if (stream.eat(":")) return "slot punctuation";
  if (stream.match(/^[^\W\d]\w*/u)) {
    if (state.action && stream.string[stream.start - 1] === "@") return "slot action";
    return stream.match(/^(?:[*+?]|\{\d*,?\d*\})?\s*:/, false) ? "slot typeName" : "slot slotName";
  }
  stream.next();
  return "slot";
}

function options(stream: StringStream, state: State): string | null {
  if (state.quote !== "") return quoted(stream, state, "slot string");
  if (ended(stream, state, "]]", "text")) return "slot bracket";
  if (stream.eatSpace()) return "slot";
  if (stream.match("{{")) {
    state.mode = "jinja";
    state.end = "}}";
    state.back = "options";
    return "expression bracket";
  }
  if (stream.eat(/["']/)) {
    state.quote = stream.current();
    return quoted(stream, state, "slot string");
  }
  if (stream.eat(/[,=|]/)) return "slot punctuation";
  if (stream.match(/^-?\d+(?:\.\d+)?(?=\s*(?:,|\]\]|$))/)) return "slot number";
  if (stream.match(/^[\w-]+(?=\s*=)/)) return "slot propertyName";
  if (stream.match(/^[^\s,=|"'{\]]+/)) return "slot string";
  stream.next();
  return "slot";
}

function jinja(stream: StringStream, state: State): string | null {
  const style = state.end === "}}" ? "expression" : "statement";
  if (state.quote !== "") return quoted(stream, state, `${style} string`);
  if (stream.match(new RegExp(`^-?${state.end === "}}" ? "\\}\\}" : "%\\}"}`))) {
    state.mode = state.back;
    return `${style} bracket`;
  }
  if (stream.eatSpace()) return style;
  if (stream.eat(/["']/)) {
    state.quote = stream.current();
    return quoted(stream, state, `${style} string`);
  }
  if (stream.match(/^\d+(?:\.\d+)?/)) return `${style} number`;
  if (stream.match(/^[^\W\d]\w*/u)) {
    const word = stream.current();
    if (WORDS.has(word)) return `${style} keyword`;
    if (ATOMS.has(word)) return `${style} atom`;
    const before = stream.string.slice(0, stream.start).trimEnd().at(-1);
    return before === "|" ? `${style} filter` : before === "." ? `${style} propertyName` : `${style} variableName`;
  }
  stream.next();
  return `${style} operator`;
}

function tag(stream: StringStream, state: State): string | null {
  if (stream.match(/^\/?>/)) {
    state.mode = "text";
    return "tagName";
  }
  if (stream.match(/^"[^"]*"?|^'[^']*'?/)) return "string";
  if (stream.match(/^[\w-]+/)) return "propertyName";
  stream.next();
  return null;
}

function quoted(stream: StringStream, state: State, style: string): string {
  let escaped = false;
  for (let char = stream.next(); char !== undefined; char = stream.next()) {
    if (char === state.quote && !escaped) {
      state.quote = "";
      break;
    }
    escaped = !escaped && char === "\\";
  }
  return style;
}

function ended(stream: StringStream, state: State, mark: string, back: State["mode"]): boolean {
  if (!stream.match(mark)) return false;
  state.mode = back;
  return true;
}

const OWN = {
  slot: Tag.define(),
  expression: Tag.define(),
  statement: Tag.define(),
  slotName: Tag.define(),
  action: Tag.define(),
};

const TYPES: Readonly<Record<string, string>> = {
  text: "free text",
  think: "free text, calmer",
  speak: "free text, livelier",
  poem: "free text, boldest",
  extract: "copied from what was given",
  bool: "true or false",
  int: "a whole number",
  number: "a number",
  pick: "one of the choices after |",
  date: "a day",
  datetime: "a day and a time",
  time: "a time of day",
  duration: "how long",
  date_rule: "days that come again",
  json: "any JSON",
  record: "fields with names",
};
const ACTIONS = ["set", "break", "timestamp", "history"];
const OPTIONS =
  "required min max gt lt min_length max_length pattern verify model fallback temperature max_tokens seed thinking stream retries cache".split(
    " ",
  );

/** What may stand at the cursor: types, actions, options, names that the text has, tags. */
export function offers(
  before: string,
  text: string,
): { readonly typed: string; readonly options: readonly Offer[] } | undefined {
  const line = before.slice(before.lastIndexOf("\n") + 1);
  const slot = /\[\[(!?)(@?)([^\]|]*)(\|[^\]]*)?$/.exec(line);
  if (slot !== null) {
    const [, , action, head = "", options] = slot;
    if (options !== undefined) {
      const word = /[|,]\s*([\w-]*)$/.exec(options)?.[1];
      return word === undefined ? undefined : { typed: word, options: OPTIONS.map((label) => ({ label })) };
    }
    if (!/^\w*$/.test(head)) return undefined;
    if (action === "@") return { typed: head, options: ACTIONS.map((label) => ({ label })) };
    const types = Object.entries(TYPES).map(([label, detail]) => ({ label, apply: `${label}:`, detail }));
    return { typed: head, options: types };
  }
  const jinja = /\{[{%](?:[^}%]*\W)?(\w*)$/.exec(line);
  if (jinja !== null) return { typed: jinja[1]!, options: namesIn(text).map((label) => ({ label })) };
  const tag = /<\/?(\w*)$/.exec(line);
  if (tag !== null) return { typed: tag[1]!, options: TAGS.split("|").map((label) => ({ label })) };
  return undefined;
}

export interface Offer {
  readonly label: string;
  readonly apply?: string;
  readonly detail?: string;
}

/** The names that a template gives or asks for. */
function namesIn(text: string): readonly string[] {
  const names = new Set<string>();
  for (const [, name] of text.matchAll(/\[\[!?@?(?:\w+[^\]:|]*:)?([^\W\d]\w*)(?=\]\]|\|)/g)) names.add(name!);
  for (const [, name] of text.matchAll(/\{\{-?\s*([^\W\d]\w*)(?=\s*(?:\||-?\}\}))/g)) names.add(name!);
  return [...names].sort();
}

function complete(context: CompletionContext): CompletionResult | null {
  const text = context.state.doc.toString();
  const found = offers(text.slice(0, context.pos), text);
  if (found === undefined || found.options.length === 0) return null;
  return { from: context.pos - found.typed.length, options: [...found.options], validFor: /^\w*$/ };
}

const language = StreamLanguage.define<State>({
  name: "headrace-template",
  startState,
  copyState: (state) => ({ ...state }),
  token,
  languageData: {
    commentTokens: { block: { open: "<!--", close: "-->" } },
    closeBrackets: { brackets: ["(", "[", "{", '"'] },
  },
  tokenTable: { ...OWN, filter: tags.function(tags.variableName) },
});

const colours = HighlightStyle.define([
  { tag: OWN.slot, class: "tpl-slot" },
  { tag: OWN.expression, class: "tpl-expression" },
  { tag: OWN.statement, class: "tpl-statement" },
  { tag: OWN.slotName, class: "tpl-name" },
  { tag: OWN.action, class: "tpl-action" },
]);

export const templateLanguage: Extension = [
  language,
  language.data.of({ autocomplete: complete }),
  syntaxHighlighting(colours),
];
