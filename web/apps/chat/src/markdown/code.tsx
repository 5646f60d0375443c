/**
 * A code block: the same container from the opening fence to the end, so nothing jumps.
 *
 * Colours come when the block is closed, from a highlighter that is loaded when the first code
 * block is. Code is drawn in pieces, so that a long block does not lay itself out anew with each token.
 */

import { memo, useEffect, useState, type ReactNode } from "react";
import { CopyButton } from "../ui/copy.tsx";
import { visible } from "./render.tsx";

/** Longer code stays plain: colouring it would hold the page up. */
const LONGEST = 40_000;
const PIECE = 8_000;

export const CodeBlock = memo(function CodeBlock(props: {
  readonly language: string;
  readonly code: string;
  readonly closed: boolean;
}) {
  const { language, code, closed } = props;
  const coloured = useHighlight(language, code, closed);
  return (
    <figure className="code" data-open={!closed}>
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton text={code} label="Copy code" />
      </figcaption>
      <pre tabIndex={0}>
        <code>{coloured ?? pieces(code).map((piece, index) => <Piece key={index} text={piece} />)}</code>
      </pre>
    </figure>
  );
});

const Piece = memo(function Piece({ text }: { readonly text: string }) {
  return <span className="code-piece">{visible(text)}</span>;
});

/** Cut at line ends where there are some; a piece that is full never changes again. */
function pieces(code: string): string[] {
  const out: string[] = [];
  let at = 0;
  while (code.length - at > PIECE) {
    const line = code.lastIndexOf("\n", at + PIECE);
    const to = line > at ? line + 1 : at + PIECE;
    out.push(code.slice(at, to));
    at = to;
  }
  out.push(code.slice(at));
  return out;
}

function useHighlight(language: string, code: string, closed: boolean): ReactNode {
  const [result, setResult] = useState<{ readonly code: string; readonly nodes: ReactNode }>();
  const wanted = closed && language !== "" && code.length <= LONGEST;
  useEffect(() => {
    if (!wanted) return;
    let live = true;
    void import("./highlight.tsx").then(({ highlight }) => {
      if (live) setResult({ code, nodes: highlight(language, code) });
    });
    return () => {
      live = false;
    };
  }, [wanted, language, code]);
  return wanted && result?.code === code ? result.nodes : undefined;
}
