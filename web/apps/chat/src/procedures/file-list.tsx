/** The workspace's files and, under them, the runs of the open program. */

import { useMemo, useState } from "react";
import { cost, duration } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { Chevron, Clock, Folder, Plus, Sheet } from "../ui/icons.tsx";
import type { Entry, PastRun, Tree } from "./api.ts";

export function FileList(props: {
  readonly tree: Tree;
  readonly current: string | undefined;
  readonly dirty: boolean;
  readonly onOpen: (path: string) => void;
  readonly onNew: (path: string) => Promise<string | undefined>;
}) {
  const { tree, current, dirty } = props;
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [naming, setNaming] = useState(false);
  const shown = useMemo(
    () => tree.entries.filter((entry) => ![...closed].some((path) => entry.path.startsWith(`${path}/`))),
    [tree, closed],
  );
  const toggle = (path: string) => {
    const next = new Set(closed);
    if (!next.delete(path)) next.add(path);
    setClosed(next);
  };
  return (
    <section className="files-panel" aria-label="Files">
      <header>
        <h2>{tree.name || "Files"}</h2>
        <button type="button" className="icon-button small" aria-label="New program" onClick={() => setNaming(true)}>
          <Plus size={16} />
        </button>
      </header>
      {naming && (
        <NewFile
          onDone={async (path) => {
            const problem = path === undefined ? undefined : await props.onNew(path);
            if (problem === undefined) setNaming(false);
            return problem;
          }}
        />
      )}
      <ul className="file-tree">
        {shown.map((entry) => (
          <Row
            key={entry.path}
            entry={entry}
            open={!closed.has(entry.path)}
            current={entry.path === current}
            dirty={dirty && entry.path === current}
            onClick={() => (entry.kind === "folder" ? toggle(entry.path) : props.onOpen(entry.path))}
          />
        ))}
      </ul>
      {tree.entries.length === 0 && <p className="muted small">No files yet. Make a program with +.</p>}
      {tree.truncated && <p className="muted small">There are more files than are shown.</p>}
    </section>
  );
}

function Row(props: {
  readonly entry: Entry;
  readonly open: boolean;
  readonly current: boolean;
  readonly dirty: boolean;
  readonly onClick: () => void;
}) {
  const { entry, open, current, dirty } = props;
  const depth = entry.path.split("/").length - 1;
  const name = entry.path.slice(entry.path.lastIndexOf("/") + 1);
  const program = /\.(?:tac|lua)$/.test(name);
  return (
    <li>
      <button
        type="button"
        className="file-row"
        data-program={program}
        aria-current={current ? "true" : undefined}
        aria-expanded={entry.kind === "folder" ? open : undefined}
        style={{ paddingInlineStart: `${0.5 + depth * 0.9}rem` }}
        onClick={props.onClick}
      >
        {entry.kind === "folder" ? <Folder size={15} /> : <Sheet size={15} />}
        <span>{visible(name)}</span>
        {dirty && <i className="dirty" title="Not saved" />}
        {entry.kind === "folder" && <Chevron size={14} />}
      </button>
    </li>
  );
}

function NewFile({ onDone }: { readonly onDone: (path: string | undefined) => Promise<string | undefined> }) {
  const [name, setName] = useState("");
  const [problem, setProblem] = useState<string>();
  return (
    <form
      className="new-file"
      onSubmit={(event) => {
        event.preventDefault();
        const path = /\.\w+$/.test(name) ? name : `${name}.tac`;
        if (name.trim() !== "") void onDone(path.trim()).then(setProblem);
      }}
    >
      <input
        autoFocus
        aria-label="Name of the new program"
        placeholder="name.tac"
        value={name}
        onChange={(event) => setName(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") void onDone(undefined);
        }}
      />
      {problem !== undefined && <p className="problem-text">{problem}</p>}
    </form>
  );
}

export function PastRuns(props: {
  readonly runs: readonly PastRun[];
  readonly current: string | undefined;
  readonly onOpen: (run: PastRun) => void;
}) {
  return (
    <section className="past-runs" aria-label="Runs">
      <header>
        <h2>Runs</h2>
        <Clock size={15} />
      </header>
      {props.runs.length === 0 && <p className="muted small">None yet.</p>}
      <ul>
        {props.runs.map((past) => (
          <li key={past.run}>
            <button
              type="button"
              className="past-run"
              aria-current={past.run === props.current ? "true" : undefined}
              onClick={() => props.onOpen(past)}
            >
              <i className="dot" data-outcome={past.outcome ?? "live"} />
              <span>
                <time dateTime={past.created}>{when(past.created)}</time>
                <small>
                  {past.outcome ?? past.status} · {duration(past.elapsed_ms)} · {cost(past.cost, past.currency)}
                </small>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function when(iso: string): string {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return today ? time : `${date.toLocaleDateString(undefined, { day: "numeric", month: "short" })}, ${time}`;
}
