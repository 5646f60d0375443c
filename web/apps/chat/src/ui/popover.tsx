/**
 * A button with a panel on the side that has room; Escape and a click elsewhere close it.
 *
 * The panel is placed in the window and not in the text around the button: it can neither be cut
 * off by a scrolling box nor make one longer, and it stands still while an answer grows.
 */

import { useEffect, useId, useLayoutEffect, useRef, useState, type ReactNode } from "react";

const GAP = 6;
const EDGE = 10;

export function Popover(props: {
  readonly label: string;
  readonly className?: string;
  readonly button: ReactNode;
  readonly children: (close: () => void) => ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const id = useId();

  useLayoutEffect(() => {
    if (!open) return;
    const put = () => {
      if (panel.current !== null && trigger.current !== null) place(panel.current, trigger.current);
    };
    put();
    // Not closed by it: on a phone the keyboard that comes for a field in the panel is a resize.
    addEventListener("resize", put);
    return () => removeEventListener("resize", put);
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);

  const close = () => {
    setOpen(false);
    trigger.current?.focus();
  };

  return (
    <div
      className="popover"
      ref={root}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        // This Escape is ours: the page's own would stop the answer.
        event.nativeEvent.stopImmediatePropagation();
        close();
      }}
      onBlur={(event) => {
        if (event.relatedTarget !== null && !event.currentTarget.contains(event.relatedTarget)) setOpen(false);
      }}
    >
      <button
        type="button"
        ref={trigger}
        className={props.className ?? "icon-button"}
        aria-label={props.label}
        title={props.label}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {props.button}
      </button>
      {open && (
        <div id={id} ref={panel} className="popover-panel">
          {props.children(close)}
        </div>
      )}
    </div>
  );
}

function place(panel: HTMLElement, trigger: HTMLElement): void {
  const from = trigger.getBoundingClientRect();
  const left = Math.max(EDGE, Math.min(from.left, innerWidth - panel.offsetWidth - EDGE));
  panel.style.left = `${left}px`;
  const above = from.top > innerHeight / 2;
  panel.style.top = above ? "auto" : `${from.bottom + GAP}px`;
  panel.style.bottom = above ? `${innerHeight - from.top + GAP}px` : "auto";
}
