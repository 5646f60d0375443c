/** A Markdown text that may still be growing; only its open end is drawn again. */

import { memo, useRef } from "react";
import { NO_BLOCKS, advance, type Block } from "./blocks.ts";
import { CodeBlock } from "./code.tsx";
import { renderBlock, visible } from "./render.tsx";

export const Markdown = memo(function Markdown({ text, done }: { readonly text: string; readonly done: boolean }) {
  // A cache of what was parsed before, not state: the same text gives the same blocks.
  const cache = useRef(NO_BLOCKS);
  const blocks = advance(cache.current, text, done);
  cache.current = blocks;
  const finished = blocks.done.length;
  return (
    <div className="md">
      {blocks.done.map((block, index) => (
        <Piece key={index} block={block} />
      ))}
      {blocks.open.map((block, index) => (
        <Piece key={finished + index} block={block} />
      ))}
    </div>
  );
});

const Piece = memo(function Piece({ block }: { readonly block: Block }) {
  switch (block.kind) {
    case "markdown":
      return renderBlock(block.token);
    case "code":
      return <CodeBlock language={block.language} code={block.code} closed={block.closed} />;
    case "plain":
      return <div className="md-plain">{visible(block.text)}</div>;
  }
});
