/** A button that copies text and says so. */

import { useEffect, useState } from "react";
import { Check, Copy } from "./icons.tsx";

export function CopyButton({
  text,
  label,
  words,
}: {
  readonly text: string;
  readonly label: string;
  readonly words?: string;
}) {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => setState("idle"), 1_800);
    return () => clearTimeout(timer);
  }, [state]);
  const said = state === "copied" ? "Copied" : state === "failed" ? "Could not copy" : label;
  return (
    <button
      type="button"
      className="icon-button small"
      aria-label={said}
      title={said}
      onClick={() => void copy(text).then((done) => setState(done ? "copied" : "failed"))}
    >
      {state === "copied" ? <Check size={15} /> : <Copy size={15} />}
      {words !== undefined && <span>{state === "copied" ? "Copied" : words}</span>}
    </button>
  );
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** The clipboard API exists on secure origins only; a page on the local network may have to do this. */
function copyBySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
