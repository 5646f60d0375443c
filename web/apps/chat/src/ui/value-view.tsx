/**
 * A structured value as a form, a list or a table; also one that is still being written.
 *
 * Objects are rows of name and value, lists of plain things are lists, lists of flat objects are tables. Every
 * word in it may come from a model and is shown as text.
 */

import type { Shape } from "@headrace/client";
import { visible } from "../markdown/render.tsx";

/** Of a longer list the rest is counted, not drawn: a page must stay quick whatever a model writes. */
const MOST = 200;
const COLUMNS = 10;

export function ValueView({ shape }: { readonly shape: Shape }) {
  switch (shape.kind) {
    case "value":
      return <Plain shape={shape} />;
    case "object":
      return shape.entries.length === 0 && shape.done ? (
        <span className="v-nothing">empty</span>
      ) : (
        <Form shape={shape} />
      );
    case "array":
      return <List shape={shape} />;
  }
}

function Plain({ shape }: { readonly shape: Shape & { kind: "value" } }) {
  const { value, done } = shape;
  if (typeof value === "string") {
    return (
      <span className="v-text" data-open={!done}>
        {value === "" && done ? <span className="v-nothing">empty</span> : visible(value)}
      </span>
    );
  }
  if (value === null)
    return done ? <span className="v-nothing">none</span> : <span className="v-text" data-open="true" />;
  return <span className={`v-${typeof value}`}>{String(value)}</span>;
}

function Form({ shape }: { readonly shape: Shape & { kind: "object" } }) {
  const left = shape.entries.length - MOST;
  return (
    <dl className="v-form">
      {shape.entries.slice(0, MOST).map(([key, value]) => (
        <div key={key} data-nested={value.kind !== "value"}>
          <dt>{visible(key)}</dt>
          <dd>
            <ValueView shape={value} />
          </dd>
        </div>
      ))}
      {left > 0 && <More count={left} />}
    </dl>
  );
}

function List({ shape }: { readonly shape: Shape & { kind: "array" } }) {
  const { items } = shape;
  if (items.length === 0)
    return shape.done ? <span className="v-nothing">empty list</span> : <span className="v-text" data-open="true" />;
  const columns = columnsOf(items);
  const left = items.length - MOST;
  if (columns !== undefined) {
    return (
      <div className="v-table">
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column} scope="col">
                  {visible(column)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {items.slice(0, MOST).map((item, index) => (
              <tr key={index}>
                {columns.map((column) => {
                  const cell = item.kind === "object" ? item.entries.find(([key]) => key === column)?.[1] : undefined;
                  return <td key={column}>{cell !== undefined && <ValueView shape={cell} />}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
        {left > 0 && <More count={left} />}
      </div>
    );
  }
  return (
    <ol className="v-list" data-plain={items.every((item) => item.kind === "value")}>
      {items.slice(0, MOST).map((item, index) => (
        <li key={index}>
          <ValueView shape={item} />
        </li>
      ))}
      {left > 0 && <More count={left} />}
    </ol>
  );
}

function More({ count }: { readonly count: number }) {
  return <p className="muted">… {count.toLocaleString("en-US")} more</p>;
}

/** The columns of a table, when every item is a flat object and they have few enough names between them. */
function columnsOf(items: readonly Shape[]): readonly string[] | undefined {
  const names = new Set<string>();
  for (const item of items) {
    if (item.kind !== "object") return undefined;
    for (const [key, value] of item.entries) {
      if (value.kind !== "value" && !(value.kind === "array" && value.items.every((inner) => inner.kind === "value")))
        return undefined;
      names.add(key);
    }
  }
  return names.size > 0 && names.size <= COLUMNS ? [...names] : undefined;
}
