/** A button with a panel on the side that has room; Escape and a click elsewhere close it. */

import { useEffect, useId, useRef, useState, type ReactNode } from "react";

export function Popover(props: {
  readonly label: string;
  readonly className?: string;
  readonly button: ReactNode;
  readonly align?: "start" | "end";
  readonly children: (close: () => void) => ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const [side, setSide] = useState<"top" | "bottom">("bottom");
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
  const id = useId();

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
        event.stopPropagation();
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
        onClick={(event) => {
          setSide(event.currentTarget.getBoundingClientRect().top > innerHeight / 2 ? "top" : "bottom");
          setOpen(!open);
        }}
      >
        {props.button}
      </button>
      {open && (
        <div id={id} className="popover-panel" data-align={props.align ?? "start"} data-side={side}>
          {props.children(close)}
        </div>
      )}
    </div>
  );
}
