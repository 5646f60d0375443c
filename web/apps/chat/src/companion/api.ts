/** What the page asks the server of a conversation: its facts, what they add up to, and whether they are intact. */

import { HeadraceError } from "@headrace/client";
import { transport } from "../state.ts";

export interface Fact {
  readonly seq: number;
  readonly id: string;
  readonly kind: string;
  readonly content: string;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly time: string;
  readonly prev_hash: string;
  readonly hash: string;
}

/** A conversation at its present end. `count` is the seq of its last fact. */
export interface Head {
  readonly conversation: string;
  readonly count: number;
  readonly hash: string;
  readonly created: string;
  readonly updated: string;
}

export interface Commitment {
  readonly id: string;
  readonly text: string;
  readonly seq: number;
  readonly closed?: number | null;
}

export interface Mirror {
  readonly seq: number;
  readonly name: string;
  readonly traits: Readonly<Record<string, number>>;
  readonly open: readonly Commitment[];
  readonly closed: readonly Commitment[];
  readonly directives: readonly string[];
  readonly claims: readonly { readonly seq: number; readonly type: string; readonly value: unknown }[];
  readonly reflections: readonly { readonly seq: number; readonly text: string }[];
  readonly counts: Readonly<Record<string, number>>;
  readonly unmatched: number;
}

export interface Metrics {
  readonly seq: number;
  readonly ias: number;
  readonly gas: number;
  readonly responses: number;
  readonly commitments: { readonly opened: number; readonly closed: number; readonly open: number };
  readonly reflections: number;
  readonly claims: number;
}

export interface Node {
  readonly id: string;
  readonly kind: string;
  readonly seq: number;
  readonly label: string;
}

export interface Edge {
  readonly source: string;
  readonly kind: string;
  readonly target: string;
}

export interface Graph {
  readonly seq: number;
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
}

export interface Step {
  readonly step: string;
  readonly [detail: string]: unknown;
}

export interface Trace {
  readonly run: string;
  readonly user: number;
  readonly end?: number | null;
  readonly outcome?: string | null;
  readonly steps: readonly Step[];
  readonly nodes: readonly string[];
  readonly elapsed_ms?: number | null;
  readonly first_token_ms?: number | null;
  /** Of the steps the turn took itself: building the context, then each call. */
  readonly durations_ms?: readonly number[] | null;
}

export interface Problem {
  readonly conversation: string;
  /** 0 when it is not one fact. */
  readonly seq: number;
  readonly what: string;
}

export interface Verified {
  readonly ok: boolean;
  readonly facts?: number;
  readonly hash?: string;
  readonly head?: string;
  readonly problems: readonly Problem[];
  /** Problems beyond those listed. */
  readonly more?: number;
}

export interface Diff {
  readonly from: number;
  readonly to: number;
  readonly mirror: {
    readonly name?: readonly [string, string];
    readonly traits?: Readonly<Record<string, number>>;
    readonly opened?: readonly string[];
    readonly closed?: readonly string[];
    readonly counts?: Readonly<Record<string, number>>;
  };
  readonly graph: { readonly nodes: readonly string[]; readonly edges: readonly Edge[] };
  readonly metrics: { readonly before: Metrics; readonly after: Metrics };
}

export interface Context {
  readonly seq: number;
  readonly nodes: readonly string[];
  readonly parts: readonly { readonly name: string; readonly text: string }[];
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

const at = (conversation: string) => `/v1/conversations/${encodeURIComponent(conversation)}`;
const get = <T>(conversation: string, view: string, query: Readonly<Record<string, string | number>> = {}) => {
  const asked = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString();
  return transport.json<T>(`${at(conversation)}${view}${asked === "" ? "" : `?${asked}`}`, { cache: "no-store" });
};
/** Of a view without `asOf`: now. */
const state = (asOf: number | undefined) => (asOf === undefined ? undefined : { as_of: asOf });

export const conversations = () => transport.json<{ conversations: readonly Head[] }>("/v1/conversations?limit=100");

/** Where the conversation ends; undefined when nothing of it has been written. */
export async function head(conversation: string): Promise<Head | undefined> {
  try {
    return await get<Head>(conversation, "");
  } catch (error) {
    if (error instanceof HeadraceError && error.code === "run-not-found") return undefined;
    throw error;
  }
}

/** The last facts, oldest first. */
export const tail = async (
  conversation: string,
  limit: number,
  options: { readonly kind?: string | undefined; readonly markers?: boolean } = {},
) =>
  (
    await get<{ facts: readonly Fact[] }>(conversation, "/facts", {
      last: "true",
      limit,
      ...(options.kind === undefined ? {} : { kind: options.kind }),
      ...(options.markers === false ? { markers: "false" } : {}),
    })
  ).facts;

/** Facts behind `after`, a page of them. */
export const facts = async (conversation: string, after: number, limit: number, markers = true) =>
  (await get<{ facts: readonly Fact[] }>(conversation, "/facts", { after, limit, markers: String(markers) })).facts;

export const mirror = (conversation: string, asOf?: number) => get<Mirror>(conversation, "/mirror", state(asOf));
export const metrics = (conversation: string, asOf?: number) => get<Metrics>(conversation, "/metrics", state(asOf));
export const graph = (conversation: string, after: number, limit: number) =>
  get<Graph>(conversation, "/graph", { after, limit });
export const near = (conversation: string, topic: string, limit: number) =>
  get<Graph>(conversation, "/graph", { topic, limit });
export const traces = async (conversation: string, limit: number) =>
  (await get<{ traces: readonly Trace[] }>(conversation, "/traces", { limit })).traces;
export const diff = (conversation: string, since: number, until: number) =>
  get<Diff>(conversation, "/diff", { since, until });
export const context = (conversation: string, text: string) => get<Context>(conversation, "/context", { text });

export const verify = (conversation: string) => get<Verified>(conversation, "/verify");
export const verifyAll = () => transport.json<Verified>("/v1/ledger/verify", { cache: "no-store" });

/** Has the model look back; gives the run. */
export async function reflect(conversation: string, model: string): Promise<string> {
  const body = JSON.stringify(model === "" ? {} : { model });
  return (await transport.json<{ run: string }>(`${at(conversation)}/reflect`, { method: "POST", body })).run;
}
