/**
 * Markdown tokens as React elements. Nothing here ever becomes HTML by way of a string.
 *
 * Links go to http, https and mailto only. Images are not loaded: an address in a model's answer
 * must not be able to call home. Control characters are drawn as their pictures (␛ for ESC), so a
 * terminal's escape sequences are visible and harmless.
 */

import type { Token, Tokens } from "marked";
import { Fragment, type ReactNode } from "react";
import { CodeBlock } from "./code.tsx";

export function renderBlock(token: Token): ReactNode {
  switch (token.type) {
    case "heading": {
      const heading = token as Tokens.Heading;
      // The page itself has the first level.
      const Tag = `h${Math.min(heading.depth + 1, 6)}` as "h2";
      return (
        <Tag dir="auto" className={`md-h${heading.depth}`}>
          {inline(heading.tokens)}
        </Tag>
      );
    }
    case "paragraph":
      return <p dir="auto">{inline((token as Tokens.Paragraph).tokens)}</p>;
    case "text": {
      const text = token as Tokens.Text;
      return text.tokens === undefined ? words(text.text) : inline(text.tokens);
    }
    case "code": {
      const code = token as Tokens.Code;
      return <CodeBlock language={(code.lang ?? "").trim().split(/\s+/)[0]!.toLowerCase()} code={code.text} closed />;
    }
    case "blockquote":
      return <blockquote dir="auto">{blocks((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "space":
    case "def":
      return null;
    default:
      return <p className="md-plain">{visible(token.raw)}</p>;
  }
}

function blocks(tokens: readonly Token[]): ReactNode {
  return tokens.map((token, index) => <Fragment key={index}>{renderBlock(token)}</Fragment>);
}

function list(token: Tokens.List): ReactNode {
  const items = token.items.map((item, index) => (
    <li key={index} dir="auto" className={item.task ? "md-task" : undefined}>
      {item.task && (
        <input
          type="checkbox"
          checked={item.checked ?? false}
          readOnly
          tabIndex={-1}
          aria-label={item.checked ? "done" : "to do"}
        />
      )}
      {blocks(item.tokens.filter((inner) => (inner.type as string) !== "checkbox"))}
    </li>
  ));
  if (!token.ordered) return <ul>{items}</ul>;
  return <ol start={typeof token.start === "number" ? token.start : 1}>{items}</ol>;
}

function table(token: Tokens.Table): ReactNode {
  const align = (cell: Tokens.TableCell) => (cell.align === null ? undefined : { textAlign: cell.align });
  return (
    <div className="md-table" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th key={index} style={align(cell)} scope="col">
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, column) => (
                <td key={column} style={align(cell)}>
                  {inline(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[] | undefined): ReactNode {
  return (tokens ?? []).map((token, index) => <Fragment key={index}>{renderInline(token)}</Fragment>);
}

function renderInline(token: Token): ReactNode {
  switch (token.type) {
    case "text": {
      const text = token as Tokens.Text;
      return text.tokens === undefined ? words(text.text) : inline(text.tokens);
    }
    case "escape":
      return visible((token as Tokens.Escape).text);
    case "strong":
      return <strong>{inline((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{inline((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{inline((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{visible((token as Tokens.Codespan).text)}</code>;
    case "br":
      return <br />;
    case "link": {
      const link = token as Tokens.Link;
      return <SafeLink href={link.href}>{inline(link.tokens)}</SafeLink>;
    }
    case "image": {
      const image = token as Tokens.Image;
      return <SafeLink href={image.href}>{`Image: ${image.text || "untitled"}`}</SafeLink>;
    }
    default:
      return visible(token.raw);
  }
}

export function SafeLink({ href, children }: { readonly href: string; readonly children: ReactNode }) {
  const safe = safeHref(href);
  if (safe === undefined) return <span className="md-dead-link">{children}</span>;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer nofollow" title={safe}>
      {children}
    </a>
  );
}

/** The address, when it leads somewhere a click may lead; undefined for `javascript:` and the like. */
export function safeHref(href: string): string | undefined {
  try {
    const url = new URL(decode(href));
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined; // relative addresses mean nothing in an answer
  }
}

function words(text: string): string {
  return visible(decode(text));
}

/** Control characters as their pictures: ␀ for NUL, ␛ for ESC. */
export function visible(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, (character) => {
    const code = character.charCodeAt(0);
    return String.fromCharCode(code === 0x7f ? 0x2421 : 0x2400 + code);
  });
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  mdash: "—",
  ndash: "–",
  hellip: "…",
  times: "×",
  rarr: "→",
  larr: "←",
  deg: "°",
};

function decode(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-z]{2,6}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal !== undefined ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff && (code & 0x1ff800) !== 0xd800 ? String.fromCodePoint(code) : "\ufffd";
  });
}
