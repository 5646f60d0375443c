/** The settings: how to ask, the server's key, the look. Kept in this browser. */

import { useEffect, useRef } from "react";
import { changeSettings, useSettings, type Settings } from "../settings.ts";
import { chat, loadModels, useModels } from "../state.ts";
import { Close } from "../ui/icons.tsx";

const ID = "settings";

export function openSettings(): void {
  (document.getElementById(ID) as HTMLDialogElement | null)?.showModal();
}

export function SettingsDialog() {
  const settings = useSettings();
  const models = useModels();
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    const box = dialog.current;
    if (box === null) return;
    const closed = () => {
      // With a new key, what was refused may work now.
      void loadModels();
      chat.reattach();
    };
    box.addEventListener("close", closed);
    return () => box.removeEventListener("close", closed);
  }, []);

  const field = (name: keyof Settings) => ({
    value: settings[name],
    onChange: (event: { target: { value: string } }) => changeSettings({ [name]: event.target.value }),
  });

  return (
    <dialog
      id={ID}
      ref={dialog}
      className="dialog"
      aria-labelledby="settings-title"
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <form method="dialog">
        <header>
          <h2 id="settings-title">Settings</h2>
          <button className="icon-button" aria-label="Close settings">
            <Close />
          </button>
        </header>
        <label>
          <span>System prompt</span>
          <textarea rows={3} placeholder="How the model should behave" {...field("system")} />
        </label>
        <div className="columns">
          <label>
            <span>Token limit</span>
            <input type="number" min={1} step={1} inputMode="numeric" placeholder="none" {...field("maxTokens")} />
          </label>
          <label>
            <span>Temperature</span>
            <input
              type="number"
              min={0}
              max={2}
              step={0.1}
              inputMode="decimal"
              placeholder="default"
              {...field("temperature")}
            />
          </label>
        </div>
        <label>
          <span>If the model fails, go on with</span>
          <select {...field("fallback")}>
            <option value="">nothing: show the error</option>
            {settings.fallback !== "" && !models.names.includes(settings.fallback) && (
              <option>{settings.fallback}</option>
            )}
            {models.names.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label>
          <span>Server's API key</span>
          <input type="password" autoComplete="off" placeholder="only if the server wants one" {...field("apiKey")} />
          <small className="muted">Kept in this browser and sent to this server only.</small>
        </label>
        <fieldset>
          <legend>Look</legend>
          <div className="segments">
            {(["system", "light", "dark"] as const).map((theme) => (
              <label key={theme}>
                <input
                  type="radio"
                  name="theme"
                  checked={settings.theme === theme}
                  onChange={() => changeSettings({ theme })}
                />
                <span>{theme === "system" ? "As the system" : theme === "light" ? "Light" : "Dark"}</span>
              </label>
            ))}
          </div>
        </fieldset>
      </form>
    </dialog>
  );
}
