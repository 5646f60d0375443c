/** What the server says of a template while it is written: faults, variables, slots, segments, the graph. */

import { HeadraceError } from "@headrace/client";
import { useEffect, useState } from "react";
import { transport } from "../state.ts";
import type { Diagnostic } from "../ui/editor.tsx";
import { asText } from "./docs.ts";

export interface CheckedSlot {
  readonly name: string;
  readonly type: string;
  readonly segment: number;
  readonly required: boolean;
  readonly list: boolean;
  readonly streams: boolean;
  readonly line: number;
  readonly column: number;
}

export interface CheckedSegment {
  readonly index: number;
  readonly name: string;
  readonly needs: readonly number[];
  readonly slots: readonly string[];
}

/** The answer of `POST /v1/templates/check`. */
export interface Checked {
  readonly ok: boolean;
  readonly errors: readonly { readonly line: number; readonly column: number; readonly message: string }[];
  readonly variables: readonly { readonly name: string; readonly line: number; readonly column: number }[];
  readonly slots: readonly CheckedSlot[];
  readonly segments: readonly CheckedSegment[];
  readonly waves: readonly (readonly number[])[];
  readonly graph: string;
  readonly explain: string;
}

export interface Check {
  /** `stale`: the text has changed since. */
  readonly state: "stale" | "good" | "wrong" | "failed";
  readonly errors: readonly Diagnostic[];
  /** The last time that it was right: an error that is being typed takes no input away. */
  readonly good: Checked | undefined;
  /** Why the server could not be asked. */
  readonly failure: HeadraceError | undefined;
}

const NONE: Check = { state: "stale", errors: [], good: undefined, failure: undefined };
/** Long enough not to ask in the middle of a word. */
const PAUSE = 250;

/** Checks `text` when nobody has typed for a moment; `id` says which template it is. */
export function useCheck(id: string, text: string): Check {
  const [known, setKnown] = useState<{ readonly id: string; readonly check: Check }>({ id, check: NONE });
  useEffect(() => {
    const stop = new AbortController();
    const tell = (change: (before: Check) => Check) =>
      setKnown((before) => ({ id, check: change(before.id === id ? before.check : NONE) }));
    tell((before) => ({ ...before, state: "stale" }));
    const timer = setTimeout(() => {
      transport
        .json<Checked>("/v1/templates/check", {
          method: "POST",
          body: JSON.stringify({ template: asText(text) }),
          signal: stop.signal,
        })
        .then((found) =>
          tell((before) => ({
            state: found.ok ? "good" : "wrong",
            errors: found.errors,
            good: found.ok ? found : before.good,
            failure: undefined,
          })),
        )
        .catch((error: unknown) => {
          if (stop.signal.aborted) return;
          const failure = error instanceof HeadraceError ? error : new HeadraceError("bad-response", String(error));
          tell((before) => ({ ...before, state: "failed", failure }));
        });
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [id, text]);
  return known.id === id ? known.check : NONE;
}
