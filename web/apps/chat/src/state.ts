/** The page's one transport, one chat store and one list of models. */

import { ChatStore, HeadraceError, HttpTransport } from "@headrace/client";
import { useSyncExternalStore } from "react";
import { changeSettings, getSettings } from "./settings.ts";

export const transport = new HttpTransport({
  base: location.pathname.replace(/\/[^/]*$/, ""),
  key: () => getSettings().apiKey || undefined,
});

export const chat = new ChatStore({ transport, storage: localStorage });
addEventListener("storage", (event) => chat.takeOver(event.key));

export interface Models {
  readonly state: "loading" | "ready" | "failed";
  readonly names: readonly string[];
  readonly error?: HeadraceError;
}

let models: Models = { state: "loading", names: [] };
const listeners = new Set<() => void>();

export async function loadModels(): Promise<void> {
  try {
    const names = await transport.models();
    models = { state: "ready", names };
    if (getSettings().model === "" && names[0] !== undefined) changeSettings({ model: names[0] });
  } catch (cause) {
    const error = cause instanceof HeadraceError ? cause : new HeadraceError("bad-response", String(cause));
    models = { state: "failed", names: models.names, error };
  }
  for (const listener of listeners) listener();
}

export function useModels(): Models {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => models,
  );
}

export function useChat() {
  return useSyncExternalStore(chat.subscribe, chat.getSnapshot);
}
