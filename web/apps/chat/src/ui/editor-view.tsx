/**
 * CodeMirror behind the props of `editor.tsx`, which is the only one to import this.
 *
 * The text belongs to the page: a change is told at once, and a `value` that is not what the editor has
 * replaces it. Diagnostics are marks in the text and a line of words under it, and move with the text until
 * new ones come.
 */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, StateEffect, StateField, type Extension, type Text } from "@codemirror/state";
import {
  Decoration,
  EditorView,
  WidgetType,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
  placeholder as placeholderOf,
  type DecorationSet,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useImperativeHandle, useRef } from "react";
import type { Diagnostic, EditorProps } from "./editor.tsx";

/** Classes and not colours: the colours are in `styles/editor.css`. */
const COLOURS = HighlightStyle.define([
  { tag: [tags.keyword, tags.controlKeyword, tags.operatorKeyword, tags.definitionKeyword], class: "tok-keyword" },
  { tag: [tags.string, tags.special(tags.string), tags.character], class: "tok-string" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], class: "tok-number" },
  { tag: [tags.comment, tags.lineComment, tags.blockComment], class: "tok-comment" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName)], class: "tok-title" },
  { tag: [tags.typeName, tags.className], class: "tok-type" },
  { tag: [tags.propertyName, tags.attributeName, tags.labelName], class: "tok-property" },
  { tag: [tags.definition(tags.variableName), tags.variableName], class: "tok-variable" },
  { tag: [tags.standard(tags.variableName), tags.standard(tags.name)], class: "tok-title" },
  { tag: [tags.tagName], class: "tok-tag" },
  { tag: [tags.bracket, tags.punctuation, tags.operator], class: "tok-punctuation" },
  { tag: [tags.meta, tags.processingInstruction], class: "tok-meta" },
  { tag: [tags.heading], class: "tok-heading" },
  { tag: [tags.emphasis], class: "tok-emphasis" },
  { tag: [tags.strong], class: "tok-strong" },
  { tag: [tags.invalid], class: "tok-invalid" },
]);

export default function EditorBox(props: EditorProps) {
  const { value, label, language, diagnostics, readOnly = false, placeholder = "" } = props;
  const parent = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const parts = useRef({ language: new Compartment(), frozen: new Compartment(), words: new Compartment() });
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const { language: grammar, frozen, words } = parts.current;
    const made = new EditorView({
      parent: parent.current!,
      doc: latest.current.value,
      extensions: [
        base(() => latest.current),
        grammar.of(latest.current.language ?? []),
        frozen.of(frozenBy(latest.current.readOnly ?? false)),
        words.of(wordsOf(latest.current.label, latest.current.placeholder ?? "")),
      ],
    });
    view.current = made;
    return () => {
      view.current = undefined;
      made.destroy();
    };
  }, []);

  useEffect(() => {
    const made = view.current!;
    if (made.state.doc.toString() === value) return;
    made.dispatch({ changes: { from: 0, to: made.state.doc.length, insert: value } });
  }, [value]);
  useEffect(() => view.current!.dispatch({ effects: parts.current.language.reconfigure(language ?? []) }), [language]);
  useEffect(
    () => view.current!.dispatch({ effects: parts.current.frozen.reconfigure(frozenBy(readOnly)) }),
    [readOnly],
  );
  useEffect(
    () => view.current!.dispatch({ effects: parts.current.words.reconfigure(wordsOf(label, placeholder)) }),
    [label, placeholder],
  );
  useEffect(() => view.current!.dispatch({ effects: told.of(diagnostics ?? []) }), [diagnostics]);

  useImperativeHandle(props.ref, () => ({
    focus: () => view.current?.focus(),
    goTo(line, column = 1) {
      const made = view.current;
      if (made === undefined) return;
      const at = positionOf(made.state.doc, line, column);
      made.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      made.focus();
    },
  }));

  return <div className="editor-box" ref={parent} />;
}

function base(props: () => EditorProps): Extension {
  return [
    lineNumbers(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    // What is offered is the language's: an `autocomplete` in its data.
    autocompletion({ icons: false }),
    search({ top: true }),
    highlightSelectionMatches(),
    syntaxHighlighting(COLOURS),
    marks,
    EditorView.lineWrapping,
    EditorState.tabSize.of(2),
    keymap.of([
      {
        key: "Mod-Enter",
        run() {
          props().onSubmit?.();
          return props().onSubmit !== undefined;
        },
      },
      ...completionKeymap,
      ...closeBracketsKeymap,
      ...defaultKeymap,
      ...searchKeymap,
      ...historyKeymap,
      // Escape, then Tab, leaves the editor: CodeMirror's own rule for those who have no mouse.
      indentWithTab,
    ]),
    EditorView.updateListener.of((update) => {
      if (!update.docChanged) return;
      const text = update.state.doc.toString();
      if (text !== props().value) props().onChange?.(text);
    }),
  ];
}

function frozenBy(readOnly: boolean): Extension {
  return readOnly ? [EditorState.readOnly.of(true), EditorView.editable.of(false)] : [];
}

function wordsOf(label: string, placeholder: string): Extension {
  return [
    EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", autocapitalize: "off", tabindex: "0" }),
    placeholder === "" ? [] : placeholderOf(placeholder),
  ];
}

// -- diagnostics ---------------------------------------------------------------------------------------

const told = StateEffect.define<readonly Diagnostic[]>();

const marks = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(before, change) {
    for (const effect of change.effects) if (effect.is(told)) return decorated(change.state.doc, effect.value);
    return before.map(change.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});

/** An offset in the text for a line and a column; what is outside the text is put at its nearest end. */
function positionOf(doc: Text, line: number, column: number): number {
  const found = doc.line(Math.max(1, Math.min(doc.lines, Math.trunc(line) || 1)));
  // The server counts characters, this editor UTF-16 units.
  let at = 0;
  let left = Math.max(1, Math.trunc(column) || 1) - 1;
  for (const character of found.text) {
    if (left-- <= 0) break;
    at += character.length;
  }
  return found.from + Math.min(at, found.length);
}

function decorated(doc: Text, diagnostics: readonly Diagnostic[]): DecorationSet {
  const ranges = diagnostics.flatMap((diagnostic) => {
    const { line, column, endColumn, message, severity = "error" } = diagnostic;
    const from = positionOf(doc, line, column);
    const { to: end, number, from: start } = doc.lineAt(from);
    const word = /^(?:[\w-]+|\[\[|\{\{|\{%|<\/?\w*|\S)/.exec(doc.sliceString(from, end))?.[0].length ?? 0;
    const to = Math.min(end, endColumn === undefined ? from + word : positionOf(doc, line, endColumn));
    return [
      Decoration.line({ class: `cm-told-line cm-${severity}-line` }).range(start),
      ...(to > from ? [Decoration.mark({ class: `cm-told cm-${severity}` }).range(from, to)] : []),
      Decoration.widget({ widget: new Told(message, severity, number, from - start), block: true, side: 1 }).range(end),
    ];
  });
  return Decoration.set(ranges, true);
}

/** The words under a line, beginning under the place they are about. */
class Told extends WidgetType {
  constructor(
    readonly message: string,
    readonly severity: string,
    readonly line: number,
    readonly indent: number,
  ) {
    super();
  }

  override eq(other: Told): boolean {
    return (
      other.message === this.message &&
      other.severity === this.severity &&
      other.line === this.line &&
      other.indent === this.indent
    );
  }

  override toDOM(): HTMLElement {
    const box = document.createElement("div");
    box.className = `cm-note cm-${this.severity}-note`;
    box.setAttribute("role", "note");
    box.style.paddingInlineStart = `calc(${Math.min(this.indent, 40)}ch + 0.5rem)`;
    const words = document.createElement("span");
    words.textContent = `${this.indent <= 40 ? "↑ " : ""}${this.message}`;
    box.append(words);
    return box;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}
