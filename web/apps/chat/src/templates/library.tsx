/** Where a template comes from: one's own, those that the server keeps, and samples. */

import { HeadraceError } from "@headrace/client";
import { useEffect, useState } from "react";
import { visible } from "../markdown/render.tsx";
import { transport } from "../state.ts";
import { Plus, Trash } from "../ui/icons.tsx";
import type { Doc } from "./docs.ts";
import { SAMPLES } from "./samples.ts";
import type { Shared } from "./share.ts";

interface Kept {
  readonly name: string;
}

export function Library(props: {
  readonly docs: readonly Doc[];
  readonly current: string | undefined;
  readonly onOpen: (id: string) => void;
  readonly onNew: (from: Shared) => void;
  readonly onRemove: (id: string) => void;
}) {
  const { docs, current, onOpen, onNew, onRemove } = props;
  const [kept, setKept] = useState<readonly Kept[]>([]);
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    transport
      .json<{ readonly templates?: readonly Kept[] }>("/v1/templates", { signal: stop.signal })
      .then((found) => setKept(found.templates ?? []))
      .catch(() => {
        // Without a list of the server's there are still one's own; the check says what is wrong with the server.
      });
    return () => stop.abort();
  }, []);
  const open = (name: string) => {
    transport
      .json<{ readonly source: string }>(`/v1/templates/${name.split("/").map(encodeURIComponent).join("/")}`)
      .then((found) => onNew({ name, text: found.source, inputs: {} }))
      .catch((error: unknown) => setProblem(error instanceof HeadraceError ? error.message : String(error)));
  };
  return (
    <div className="library">
      <button type="button" className="button" onClick={() => onNew({ name: "Untitled", text: "", inputs: {} })}>
        <Plus size={16} /> Empty template
      </button>
      {problem !== undefined && <p className="problem-text">{problem}</p>}
      {docs.length > 0 && (
        <section>
          <h2>Yours, in this browser</h2>
          <ul>
            {docs.map((doc) => (
              <li key={doc.id} data-current={doc.id === current}>
                <button type="button" onClick={() => onOpen(doc.id)}>
                  {visible(doc.name)}
                </button>
                <button
                  type="button"
                  className="icon-button small"
                  aria-label={`Delete ${doc.name}`}
                  title="Delete"
                  onClick={() => onRemove(doc.id)}
                >
                  <Trash size={15} />
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      {kept.length > 0 && (
        <section>
          <h2>On this server</h2>
          <ul>
            {kept.map(({ name }) => (
              <li key={name}>
                <button type="button" onClick={() => open(name)}>
                  {visible(name)}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h2>Samples</h2>
        <ul>
          {SAMPLES.map((sample) => (
            <li key={sample.name}>
              <button type="button" onClick={() => onNew(sample)}>
                {sample.name}
                <small>{sample.about}</small>
              </button>
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}
