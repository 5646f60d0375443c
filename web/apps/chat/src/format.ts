/** Numbers as people read them. An unknown number is a dash, never a zero. */

import type { RunState } from "@headrace/client";

export const UNKNOWN = "—";

export function duration(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return UNKNOWN;
  if (ms < 995) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

/** Whole seconds, for clocks that tick. */
export function seconds(ms: number): string {
  const whole = Math.max(0, Math.floor(ms / 1_000));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** A cost with its currency, to the first two digits that say something. */
export function cost(amount: number | undefined, currency = "USD"): string {
  if (amount === undefined || !Number.isFinite(amount)) return UNKNOWN;
  const digits = amount === 0 || amount >= 1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(amount)));
  const text = amount.toFixed(Math.max(2, digits));
  return currency.toUpperCase() === "USD" ? `$${text}` : `${text} ${currency.toUpperCase()}`;
}

export interface Figures {
  readonly tokens: number | undefined;
  /** Whether the tokens are our guess from the length of the text. */
  readonly guessed: boolean;
  readonly firstTokenMs: number | undefined;
  readonly tokensPerSecond: number | undefined;
  readonly elapsedMs: number | undefined;
  /** At most this long until the token limit is reached. */
  readonly leftMs: number | undefined;
}

/** Characters a token, on average: good enough for a figure that is marked as a guess. */
const CHARACTERS = 4;

export function figures(state: RunState, maxTokens: number | undefined): Figures {
  const reported = state.usage?.output_tokens;
  const known = typeof reported === "number" && (state.ended || state.usage?.basis === "reported");
  const characters = state.blocks.reduce((sum, block) => sum + block.text.length, 0);
  const guess = Math.round(characters / CHARACTERS);
  // A count reported in the middle of a stream falls behind the text; the larger one is nearer.
  const tokens = known ? (state.ended ? reported : Math.max(reported, guess)) : guess || undefined;
  const firstTokenMs = state.first_token_ms ?? minus(state.firstToken, state.started);
  const elapsedMs = state.elapsed_ms ?? (state.ended ? minus(state.latest, state.started) : undefined);
  const writing =
    elapsedMs !== undefined && firstTokenMs !== undefined
      ? elapsedMs - firstTokenMs
      : minus(state.latest, state.firstToken);
  const rate = tokens !== undefined && writing !== undefined && writing >= 250 ? tokens / (writing / 1_000) : undefined;
  const left =
    !state.ended && rate !== undefined && rate > 0 && maxTokens !== undefined && tokens !== undefined
      ? Math.max(0, (maxTokens - tokens) / rate) * 1_000
      : undefined;
  return {
    tokens,
    guessed: !(known && state.ended && (state.usage?.basis ?? "reported") === "reported"),
    firstTokenMs,
    tokensPerSecond: rate,
    elapsedMs,
    leftMs: left,
  };
}

function minus(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : Math.max(0, a - b);
}
