/**
 * Where the person is: `?run=` shows one run; otherwise the hash names a page and a thing on it.
 *
 * The hash, so that the server has to know one address only and the page works under any prefix.
 */

import { useSyncExternalStore } from "react";

export interface Place {
  /** The first part of the hash: "" is the chat. */
  readonly page: string;
  readonly id: string | undefined;
  readonly run: string | undefined;
}

function read(): Place {
  const [page = "", id] = location.hash.replace(/^#\/?/, "").split("/");
  return { page, id: id || undefined, run: new URLSearchParams(location.search).get("run") ?? undefined };
}

let place = read();
const listeners = new Set<() => void>();

function moved(): void {
  place = read();
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
