/**
 * The open program: its text, whether it is saved, and what the server thinks of it.
 *
 * What is typed is checked a moment after the last key. A save says what it replaces, so nobody's change is lost;
 * where somebody else was quicker the text stays here and the page says so. Without a workspace there is one
 * program, kept in this browser.
 */

import { HeadraceError } from "@headrace/client";
import { useCallback, useEffect, useRef, useState } from "react";
import * as api from "./api.ts";

const CHECK_MS = 350;
const SCRATCH = "headrace:scratch-program";

export const FIRST = `input {
  topic = field.string{required = true, description = "What to write about"},
}

writer = Agent {
  system_prompt = "You write short texts about {input.topic}.",
}

return { text = writer("Write three sentences.").text }
`;

export interface Program {
  readonly path: string | undefined;
  readonly text: string;
  readonly dirty: boolean;
  readonly loading: boolean;
  readonly checked: api.Checked | undefined;
  /** Why it could not be read, written or checked. */
  readonly problem: HeadraceError | undefined;
  readonly stale: boolean;
  readonly edit: (text: string) => void;
  /** Whether it is on disk now. */
  readonly save: () => Promise<boolean>;
  /** What is on disk, instead of what was typed. */
  readonly reload: () => void;
}

export function useProgram(path: string | undefined, scratch: boolean): Program {
  const [text, setText] = useState("");
  const [saved, setSaved] = useState<{ readonly content: string; readonly etag?: string }>();
  const [checked, setChecked] = useState<api.Checked>();
  const [problem, setProblem] = useState<HeadraceError>();
  const [stale, setStale] = useState(false);
  const [again, setAgain] = useState(0);
  const latest = useRef({ text, saved, path });
  latest.current = { text, saved, path };

  useEffect(() => {
    setSaved(undefined);
    setChecked(undefined);
    setProblem(undefined);
    setStale(false);
    setText("");
    if (path === undefined) {
      if (!scratch) return;
      const kept = localStorage.getItem(SCRATCH) ?? FIRST;
      setText(kept);
      setSaved({ content: kept });
      return;
    }
    let gone = false;
    api.open(path).then(
      (file) => {
        if (gone) return;
        setText(file.content);
        setSaved(file);
      },
      (error: HeadraceError) => void (gone || setProblem(error)),
    );
    return () => void (gone = true);
  }, [path, scratch, again]);

  const program = path === undefined || /\.(?:tac|lua)$/.test(path);
  useEffect(() => {
    if (saved === undefined || !program) return;
    const stop = new AbortController();
    const timer = setTimeout(
      () => {
        api.check(text, stop.signal).then(setChecked, (error: unknown) => {
          if (!stop.signal.aborted && error instanceof HeadraceError) setProblem(error);
        });
      },
      checked === undefined ? 0 : CHECK_MS,
    );
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
    // `checked` decides only how soon the first check comes.
  }, [text, saved === undefined, program]);

  const edit = useCallback((next: string) => {
    setText(next);
    if (latest.current.path === undefined) localStorage.setItem(SCRATCH, next);
  }, []);

  const save = useCallback(async () => {
    const now = latest.current;
    if (now.saved === undefined) return false;
    if (now.path === undefined || now.text === now.saved.content) return true;
    try {
      const etag = await api.save(now.path, now.text, now.saved.etag);
      if (latest.current.path === now.path) setSaved({ content: now.text, etag });
      setProblem(undefined);
      setStale(false);
      return true;
    } catch (error) {
      const told = error instanceof HeadraceError ? error : new HeadraceError("bad-response", String(error));
      if (told.status === 412) setStale(true);
      else setProblem(told);
      return false;
    }
  }, []);

  return {
    path,
    text,
    dirty: saved !== undefined && path !== undefined && text !== saved.content,
    loading: saved === undefined && problem === undefined,
    checked,
    problem,
    stale,
    edit,
    save,
    reload: useCallback(() => setAgain((count) => count + 1), []),
  };
}
