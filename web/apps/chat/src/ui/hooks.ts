/** Small hooks: a clock that ticks only where it is shown, and a scroller that stays at the end. */

import { useCallback, useEffect, useRef, useState, type RefObject } from "react";

/** The time, again every `ms` while `running`. */
export function useNow(running: boolean, ms = 250): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [running, ms]);
  return now;
}

/** How near the end still counts as being at it. */
const NEAR = 48;

export interface StickyScroll {
  readonly scroller: RefObject<HTMLDivElement | null>;
  readonly content: RefObject<HTMLDivElement | null>;
  /** Whether the end is in view and kept there. */
  readonly atEnd: boolean;
  readonly toEnd: (smooth?: boolean) => void;
}

/** Keeps the end of `content` in view until the person scrolls away from it, and again when they come back. */
export function useStickyScroll(): StickyScroll {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const [atEnd, setAtEnd] = useState(true);

  const toEnd = useCallback((smooth = false) => {
    const box = scroller.current;
    if (box === null) return;
    stuck.current = true;
    setAtEnd(true);
    box.scrollTo({ top: box.scrollHeight, behavior: smooth && !reducedMotion() ? "smooth" : "instant" });
  }, []);

  useEffect(() => {
    const box = scroller.current;
    const inner = content.current;
    if (box === null || inner === null) return;
    let last = box.scrollTop;
    const scrolled = () => {
      const left = box.scrollHeight - box.scrollTop - box.clientHeight;
      if (left <= NEAR) stuck.current = true;
      // Growing content moves the end away without anybody scrolling: only going up lets go.
      else if (box.scrollTop < last - 1) stuck.current = false;
      last = box.scrollTop;
      setAtEnd(stuck.current);
    };
    const grown = new ResizeObserver(() => {
      // A busy page may come here before it is told that the person has scrolled up: that is not undone.
      const left = box.scrollHeight - box.scrollTop - box.clientHeight;
      if (stuck.current && box.scrollTop < last - 1 && left > NEAR) {
        stuck.current = false;
        setAtEnd(false);
      }
      if (stuck.current) box.scrollTop = box.scrollHeight;
      last = box.scrollTop;
    });
    box.addEventListener("scroll", scrolled, { passive: true });
    grown.observe(inner);
    grown.observe(box);
    return () => {
      box.removeEventListener("scroll", scrolled);
      grown.disconnect();
    };
  }, []);

  return { scroller, content, atEnd, toEnd };
}

export function reducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
