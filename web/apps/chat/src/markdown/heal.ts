/**
 * Makes the end of an unfinished Markdown text look as it will look when it is finished.
 *
 * `**bo` is shown bold and not with two stars; half a link shows its words; a line that so far is
 * only a mark (`-`, `##`, `1.`) is held back for a moment, because it could become a list, a
 * heading or the underline of one. Used for the open end of a stream only; a finished text is
 * always parsed as it is.
 */

export function heal(text: string): string {
  return closeInline(holdBack(text));
}

function holdBack(text: string): string {
  const line = text.lastIndexOf("\n") + 1;
  const last = text.slice(line);
  if (/^\s*[-=*+_~`#>|:]+[-=*+_~`#>|:\s]*$/.test(last)) return text.slice(0, line);
  // A lone number starts a list only after other lines; "42" as a whole answer is shown at once.
  if (line > 0 && /^\s*\d{1,3}[.)]?\s*$/.test(last)) return text.slice(0, line);
  return text;
}

function closeInline(text: string): string {
  const from = text.lastIndexOf("\n\n") + 1;
  const head = text.slice(0, from);
  let tail = text.slice(from);

  const code = openCode(tail);
  if (code !== undefined) {
    const content = tail.slice(code.at + code.run.length);
    return head + (content.trim() === "" ? tail.slice(0, code.at) : tail + code.run);
  }
  tail = tail.replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1").replace(/!?\[([^\]\n[]*)$/, "$1");
  return head + closeEmphasis(tail);
}

/** The run of backticks that begins a code span which has no end yet. */
function openCode(text: string): { readonly at: number; readonly run: string } | undefined {
  const runs = /`+/g;
  let open: { at: number; run: string } | undefined;
  for (let match = runs.exec(text); match !== null; match = runs.exec(text)) {
    if (open === undefined) open = { at: match.index, run: match[0] };
    else if (open.run.length === match[0].length) open = undefined;
  }
  return open;
}

function closeEmphasis(text: string): string {
  const bare = text.replace(/(`+)[^`]*\1/g, (span) => "x".repeat(span.length));
  const trimmed = text.trimEnd();
  const space = text.slice(trimmed.length);
  const doubles = bare.match(/\*\*/g)?.length ?? 0;
  if (doubles % 2 === 1) {
    if (trimmed.endsWith("**")) return trimmed.slice(0, -2) + space;
    return (trimmed.endsWith("*") ? trimmed.slice(0, -1) : trimmed) + "**" + space;
  }
  const single = /(?:^|[\s(])\*(?=[^\s*])[^*]*$/.test(bare.replace(/\*\*/g, "xx"));
  return single ? `${trimmed}*${space}` : text;
}
