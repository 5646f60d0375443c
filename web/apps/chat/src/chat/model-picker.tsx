/** Which model answers: a list one can type into, also a name that is not on it. */

import { useMemo, useRef, useState } from "react";
import { changeSettings, useSettings } from "../settings.ts";
import { loadModels, useModels } from "../state.ts";
import { Check, Chevron } from "../ui/icons.tsx";
import { Popover } from "../ui/popover.tsx";

export function ModelPicker() {
  const settings = useSettings();
  const models = useModels();
  const name = settings.model || (models.state === "loading" ? "Loading models…" : "Default model");
  return (
    <Popover
      label={`Model: ${name}`}
      className="model-button"
      button={
        <>
          <span>{name}</span>
          <Chevron size={16} />
        </>
      }
    >
      {(close) => <ModelList onDone={close} />}
    </Popover>
  );
}

function ModelList({ onDone }: { readonly onDone: () => void }) {
  const settings = useSettings();
  const models = useModels();
  const [filter, setFilter] = useState("");
  const typed = filter.trim();
  const found = useMemo(() => {
    const names = models.names.filter((name) => name.toLowerCase().includes(typed.toLowerCase()));
    // A provider may have models that it does not list.
    return typed === "" || names.includes(typed) ? names : [...names, typed];
  }, [models.names, typed]);
  const [active, setActive] = useState(() => Math.max(0, models.names.indexOf(settings.model)));
  const list = useRef<HTMLUListElement>(null);
  const choose = (name: string | undefined) => {
    if (name !== undefined) changeSettings({ model: name });
    onDone();
  };
  const move = (to: number) => {
    const next = Math.max(0, Math.min(found.length - 1, to));
    setActive(next);
    list.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  return (
    <div className="model-list">
      <input
        autoFocus
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls="model-options"
        aria-activedescendant={found[active] === undefined ? undefined : `model-${active}`}
        aria-label="Find or name a model"
        placeholder="Find or name a model"
        value={filter}
        onChange={(event) => {
          setFilter(event.target.value);
          setActive(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") move(active + 1);
          else if (event.key === "ArrowUp") move(active - 1);
          else if (event.key === "Enter") choose(found[active]);
          else return;
          event.preventDefault();
        }}
      />
      {models.state === "failed" && (
        <p className="muted">
          The list cannot be had: {models.error?.message}.{" "}
          <button type="button" className="link" onClick={() => void loadModels()}>
            Try again
          </button>
        </p>
      )}
      <ul id="model-options" role="listbox" aria-label="Models" ref={list}>
        {found.map((name, index) => (
          <li
            key={name}
            id={`model-${index}`}
            role="option"
            aria-selected={name === settings.model}
            data-active={index === active}
            onPointerMove={() => setActive(index)}
            onClick={() => choose(name)}
          >
            <span>{models.names.includes(name) ? name : `Use “${name}”`}</span>
            {name === settings.model && <Check size={16} />}
          </li>
        ))}
      </ul>
    </div>
  );
}
