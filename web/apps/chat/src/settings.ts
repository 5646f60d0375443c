/** What the person chose, kept in this browser: model, limits, key, theme. */

import type { RequestOptions } from "@headrace/client";
import { useSyncExternalStore } from "react";

export interface Settings {
  readonly model: string;
  readonly fallback: string;
  readonly system: string;
  readonly maxTokens: string;
  readonly temperature: string;
  readonly apiKey: string;
  readonly theme: "system" | "light" | "dark";
}

const KEY = "headrace:settings";
const DEFAULTS: Settings = {
  model: "",
  fallback: "",
  system: "",
  maxTokens: "",
  temperature: "",
  apiKey: "",
  theme: "system",
};

let settings = read();
const listeners = new Set<() => void>();

function read(): Settings {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>) };
  } catch {
    return DEFAULTS;
  }
}

export function getSettings(): Settings {
  return settings;
}

export function changeSettings(change: Partial<Settings>): void {
  settings = { ...settings, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // A full storage: the choice holds until the page is closed.
  }
  applyTheme();
  for (const listener of listeners) listener();
}

addEventListener("storage", (event) => {
  if (event.key !== KEY) return;
  settings = read();
  applyTheme();
  for (const listener of listeners) listener();
});

export function useSettings(): Settings {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => settings,
  );
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = settings.theme;
}

/** The settings as they go with a question. Empty fields leave the choice to the server. */
export function requestOptions(): RequestOptions {
  const { model, fallback, system } = settings;
  const max = Number.parseInt(settings.maxTokens, 10);
  const temperature = Number.parseFloat(settings.temperature);
  return {
    ...(model === "" ? {} : { model }),
    ...(system.trim() === "" ? {} : { system }),
    ...(max > 0 ? { max_tokens: max } : {}),
    ...(Number.isFinite(temperature) ? { temperature } : {}),
    ...(fallback === "" || fallback === model ? {} : { fallbacks: [fallback] }),
  };
}
