/** The steps of a turn as bars on one scale, from what its trace has. Pure. */

import type { Step, Trace } from "./api.ts";

export interface Bar {
  readonly step: Step;
  /** Milliseconds after the turn began; absent where nothing was measured. */
  readonly from?: number;
  readonly ms?: number;
}

/** Steps that the turn took itself, in the order of `durations_ms`. */
const TIMED: ReadonlySet<string> = new Set(["context", "generate", "continue"]);

export function barsOf(trace: Trace): { readonly bars: readonly Bar[]; readonly total: number } {
  const durations = [...(trace.durations_ms ?? [])];
  let at = 0;
  const bars = trace.steps.map((step): Bar => {
    const ms = TIMED.has(step.step) ? durations.shift() : undefined;
    if (ms === undefined) return { step };
    const from = at;
    at += ms;
    return { step, from, ms };
  });
  return { bars, total: Math.max(at, trace.elapsed_ms ?? 0, 1) };
}

/** What a step says of itself beside its name. */
export function detailOf(step: Step): string {
  const { messages, characters, nodes, finish_reason: reason, seq, outcome } = step;
  const said: string[] = [];
  if (typeof messages === "number") said.push(`${messages} messages`);
  if (typeof characters === "number") said.push(`${characters.toLocaleString("en-US")} characters`);
  if (Array.isArray(nodes)) said.push(`${nodes.length} ${nodes.length === 1 ? "node" : "nodes"}`);
  if (typeof reason === "string" && reason !== "stop") said.push(reason);
  if (typeof outcome === "string" && outcome !== "completed") said.push(outcome);
  if (typeof seq === "number" && step.step !== "context") said.push(`fact ${seq}`);
  return said.join(" · ");
}
