/**
 * A text editor for programs: colours, line numbers, undo, search, and errors shown where they are.
 *
 * CodeMirror is in a bundle of its own that comes when the first editor is shown (`editor-view.tsx`); until
 * then its place holds the plain text. Colours are the page's own (`styles/editor.css`, `tokens.css`), so both
 * looks work without a word here. A language is any CodeMirror extension; a page that has one is loaded lazily
 * itself, and its grammar with it.
 */

import type { Extension } from "@codemirror/state";
import { Suspense, lazy, type Ref } from "react";
import "../styles/editor.css";

/** Something to say about a place in the text; lines and columns count from 1, columns in characters. */
export interface Diagnostic {
  readonly line: number;
  readonly column: number;
  /** Where it ends in the same line, exclusive; without it the word that begins there is marked. */
  readonly endColumn?: number;
  readonly message: string;
  /** Default: error. */
  readonly severity?: "error" | "warning";
}

export interface EditorHandle {
  /** Puts the cursor there, in view. */
  goTo(line: number, column?: number): void;
  focus(): void;
}

export interface EditorProps {
  readonly value: string;
  readonly onChange?: (value: string) => void;
  /** What a screen reader calls it. */
  readonly label: string;
  readonly language?: Extension;
  readonly diagnostics?: readonly Diagnostic[];
  readonly readOnly?: boolean;
  readonly placeholder?: string;
  /** Ctrl+Enter (Cmd+Enter on a Mac). */
  readonly onSubmit?: () => void;
  readonly ref?: Ref<EditorHandle>;
}

const View = lazy(() => import("./editor-view.tsx"));

export function Editor(props: EditorProps) {
  return (
    <div className="editor" data-readonly={props.readOnly}>
      <Suspense fallback={<pre className="editor-wait">{props.value}</pre>}>
        <View {...props} />
      </Suspense>
    </div>
  );
}
