/**
 * From facts to what the chat shows: turns with their ending and what became of it, and what was written beside them.
 *
 * Pure. The ledger is the only source: a turn whose `user` has no ending is being answered, and its id is the run's.
 */

import type { Fact } from "./api.ts";

export interface TurnEntry {
  readonly kind: "turn";
  readonly run: string;
  readonly user: Fact;
  /** Absent while the turn is being answered. */
  readonly end?: Fact;
  /** Facts that marker lines of the response became. */
  readonly memory: readonly Fact[];
}

export interface FactEntry {
  readonly kind: "fact";
  readonly fact: Fact;
}

export type Entry = TurnEntry | FactEntry;

const ENDINGS: ReadonlySet<string> = new Set(["response", "generation-ended"]);

export function entriesOf(facts: readonly Fact[]): readonly Entry[] {
  const entries: Entry[] = [];
  const turns = new Map<string, { place: number; turn: TurnEntry }>();
  const ended = new Map<number, string>();
  const change = (run: string, more: Partial<TurnEntry>) => {
    const found = turns.get(run);
    if (found === undefined) return false;
    found.turn = { ...found.turn, ...more };
    entries[found.place] = found.turn;
    return true;
  };
  for (const fact of facts) {
    const turn = fact.meta["turn"];
    if (fact.kind === "user") {
      const run = fact.id.replace(/:user$/, "");
      const entry: TurnEntry = { kind: "turn", run, user: fact, memory: [] };
      turns.set(run, { place: entries.length, turn: entry });
      entries.push(entry);
    } else if (ENDINGS.has(fact.kind)) {
      const run = fact.id.replace(/:end$/, "");
      if (change(run, { end: fact })) ended.set(fact.seq, run);
    } else if (fact.id.startsWith("marker:") && typeof turn === "number") {
      const run = ended.get(turn);
      if (run !== undefined) change(run, { memory: [...(turns.get(run)?.turn.memory ?? []), fact] });
    } else {
      entries.push({ kind: "fact", fact });
    }
  }
  return entries;
}

/** The run that answers the last message at this moment. */
export function openRun(entries: readonly Entry[]): string | undefined {
  const last = entries.findLast((entry) => entry.kind === "turn");
  return last?.kind === "turn" && last.end === undefined ? last.run : undefined;
}

/** What a fact of the memory says, in a few words. */
export function remembered(fact: Fact): string {
  switch (fact.kind) {
    case "commitment":
      return `Promised: ${fact.content}`;
    case "commitment-closed":
      return `Closed: ${fact.content}`;
    case "claim":
      return `Noted: ${fact.content}`;
    case "reflection":
      return `Reflected: ${fact.content}`;
    case "trait":
      return `Trait: ${fact.content}`;
    default:
      return `${fact.kind}: ${fact.content}`;
  }
}
