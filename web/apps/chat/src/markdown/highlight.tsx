/** Colours for code, as elements. Loaded on demand; knows the languages people ask models about. */

import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import lua from "highlight.js/lib/languages/lua";
import markdown from "highlight.js/lib/languages/markdown";
import php from "highlight.js/lib/languages/php";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { Fragment, type ReactNode } from "react";
import { visible } from "./render.tsx";

const lowlight = createLowlight({
  bash,
  c,
  cpp,
  csharp,
  css,
  diff,
  dockerfile,
  go,
  ini,
  java,
  javascript,
  json,
  lua,
  markdown,
  php,
  python,
  ruby,
  rust,
  sql,
  swift,
  typescript,
  xml,
  yaml,
});

type Tree = ReturnType<typeof lowlight.highlight>;
type Node = Tree["children"][number];

/** The code with its colours, or undefined for a language we do not know. */
export function highlight(language: string, code: string): ReactNode {
  if (!lowlight.registered(language)) return undefined;
  return lowlight
    .highlight(language, code)
    .children.map((node, index) => <Fragment key={index}>{draw(node)}</Fragment>);
}

function draw(node: Node): ReactNode {
  if (node.type === "text") return visible(node.value);
  if (node.type !== "element") return null;
  const names = node.properties["className"];
  return (
    <span className={Array.isArray(names) ? names.join(" ") : undefined}>
      {node.children.map((child, index) => (
        <Fragment key={index}>{draw(child as Node)}</Fragment>
      ))}
    </span>
  );
}
