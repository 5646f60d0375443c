/**
 * Where the person is: `?run=` shows one run; otherwise the hash names a page and things on it.
 *
 * The hash, so that the server has to know one address only and the page works under any prefix. It reads
 * `#/page/part/part?name=value`: parts say which thing, the query says how it is shown.
 */

import { useSyncExternalStore } from "react";

export interface Place {
  /** The first part of the hash: "" is the chat. */
  readonly page: string;
  /** The part after it. */
  readonly id: string | undefined;
  /** Everything after the page, decoded. */
  readonly parts: readonly string[];
  /** What follows a `?` inside the hash. */
  readonly query: URLSearchParams;
  readonly run: string | undefined;
}

export function parsePlace(hash: string, search: string): Place {
  const [path = "", query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [page = "", ...rest] = path.split("/").filter((part, index) => index === 0 || part !== "");
  const parts = rest.map(decoded);
  return {
    page,
    id: parts[0],
    parts,
    query: new URLSearchParams(query ?? ""),
    run: new URLSearchParams(search).get("run") ?? undefined,
  };
}

/** A stray `%` in an address somebody typed is a `%`. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

let place = parsePlace(location.hash, location.search);
const listeners = new Set<() => void>();

function moved(): void {
  place = parsePlace(location.hash, location.search);
  for (const listener of listeners) listener();
}
addEventListener("popstate", moved);
addEventListener("hashchange", moved);

/** Goes to a page; `replace` leaves no entry in the history. */
export function go(hash: string, options: { readonly replace?: boolean } = {}): void {
  const address = location.pathname + (hash === "" ? "" : `#/${hash}`);
  if (options.replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  moved();
}

export function usePlace(): Place {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => place,
  );
}

/** The address at which anyone who may see the run can watch it. */
export function runAddress(run: string): string {
  return `${location.origin}${location.pathname}?run=${encodeURIComponent(run)}`;
}
