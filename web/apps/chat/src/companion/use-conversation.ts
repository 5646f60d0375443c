/**
 * One conversation, live: where it ends, its last facts, the turn that is being answered, and sending the next.
 *
 * The page hangs on one number, the count of the ledger's facts. It is asked for more often while something runs and
 * for some seconds after (the follow-up of a turn writes facts of its own), and whatever shows a view reads it again
 * when the number has changed. So what other tabs, the terminal and other programs write is shown as well.
 */

import { HeadraceError } from "@headrace/client";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { requestOptions } from "../settings.ts";
import { transport } from "../state.ts";
import { useRun, type Followed } from "../ui/use-run.ts";
import * as api from "./api.ts";
import { keep, newPending, pendingOf, type Pending } from "./pending.ts";
import { entriesOf, openRun, type Entry } from "./timeline.ts";

/** Facts that the chat shows. */
const SHOWN = 300;
const LIVE_MS = 700;
const IDLE_MS = 4_000;
/** How long after a turn its follow-up is looked out for. */
const AFTER_MS = 8_000;

export interface Conversation {
  readonly id: string;
  /** Undefined until it is known, null when nothing has been written. */
  readonly head: api.Head | null | undefined;
  /** The seq of the last fact; 0 for an empty one. */
  readonly count: number;
  readonly entries: readonly Entry[];
  readonly facts: readonly api.Fact[];
  /** The run of the turn that is being answered, or was answered here last. */
  readonly followed: Followed | undefined;
  readonly pending: Pending | undefined;
  readonly busy: boolean;
  readonly stopping: boolean;
  readonly problem: HeadraceError | undefined;
  readonly reflecting: Followed | undefined;
  readonly send: (text: string) => void;
  readonly retry: () => void;
  readonly stop: () => void;
  readonly reflect: () => void;
}

/** `fresh`: nothing of it can be there before its first message is sent, and nobody is asked for it. */
export function useConversation(id: string, fresh = false): Conversation {
  const [head, setHead] = useState<api.Head | null | undefined>(fresh ? null : undefined);
  const [facts, setFacts] = useState<readonly api.Fact[]>([]);
  const [pending, setPending] = useState(() => pendingOf(id));
  const [problem, setProblem] = useState<HeadraceError>();
  const [stopping, setStopping] = useState(false);
  const [reflection, setReflection] = useState<string>();
  const [ended, setEnded] = useState(0);
  const entries = useMemo(() => entriesOf(facts), [facts]);

  const open = openRun(entries);
  const run = pending?.run ?? (pending === undefined ? open : undefined);
  const followed = useRun(run);
  const reflecting = useRun(reflection);
  const elsewhere = followed?.error?.code === "run-not-found";
  const posting = pending !== undefined && pending.run === undefined && problem === undefined;
  const busy = posting || (followed?.live ?? false) || (reflecting?.live ?? false);

  const look = useCallback(async () => {
    try {
      setHead((await api.head(id)) ?? null);
      const unsent = pendingOf(id) !== undefined && pendingOf(id)?.run === undefined;
      setProblem((now) => (now?.code === "network" && !unsent ? undefined : now));
    } catch (error) {
      setHead((known) => known ?? null);
      setProblem((now) => now ?? (error as HeadraceError));
    }
  }, [id]);

  // The one clock of the page.
  useEffect(() => {
    if (fresh) return;
    let left = false;
    let timer: ReturnType<typeof setTimeout>;
    const until = ended + AFTER_MS;
    const tick = async () => {
      if (document.visibilityState === "visible") await look();
      if (!left) timer = setTimeout(tick, busy || Date.now() < until ? LIVE_MS : IDLE_MS);
    };
    void tick();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [look, busy, ended, fresh]);

  // What has been written since: the facts behind the last one that is known.
  const count = head?.count ?? 0;
  const known = useRef<readonly api.Fact[]>([]);
  useEffect(() => {
    let left = false;
    const read = async () => {
      const last = known.current.at(-1)?.seq ?? 0;
      if (count <= last) return;
      const found =
        count - last > SHOWN
          ? await api.tail(id, SHOWN, { markers: false })
          : [...known.current, ...(await api.facts(id, last, SHOWN, false))].slice(-SHOWN);
      if (left) return;
      known.current = found;
      setFacts(found);
    };
    read().catch((error: HeadraceError) => void (left || setProblem(error)));
    return () => void (left = true);
  }, [id, count]);

  /** The key of a message that is to be stopped as soon as its run is known. */
  const unwanted = useRef<string>(undefined);
  const cancel = useCallback((stopped: string) => {
    setStopping(true);
    transport.cancel(stopped).catch((error: unknown) => {
      setStopping(false);
      setProblem(asHeadrace(error));
    });
  }, []);
  const post = useCallback(
    async (mine: Pending) => {
      setProblem(undefined);
      try {
        const { run } = await transport.start(mine.body, { key: mine.key });
        const started = { ...mine, run };
        if (pendingOf(id)?.key === mine.key) keep(id, started);
        setPending((now) => (now?.key === mine.key ? started : now));
        if (unwanted.current === mine.key) cancel(run);
      } catch (error) {
        setStopping(false);
        setProblem(asHeadrace(error));
      }
    },
    [id, cancel],
  );

  // A message that was sent and never answered by the server, because the page was left: it is sent with the same key.
  const first = useRef(pending);
  useEffect(() => {
    if (first.current !== undefined && first.current.run === undefined) void post(first.current);
    first.current = undefined;
  }, [post]);

  const over = followed?.state.ended ?? false;
  useEffect(() => {
    if (!over) return;
    setEnded(Date.now());
    setStopping(false);
    keep(id, undefined);
  }, [over, id]);
  const reflected = reflecting?.state.ended ?? false;
  useEffect(() => {
    if (reflected) setEnded(Date.now());
  }, [reflected]);
  useEffect(() => {
    // A run that this server no longer knows: what the ledger has of it is all there is.
    if (elsewhere && pending?.run !== undefined) {
      keep(id, undefined);
      setPending(undefined);
    }
  }, [elsewhere, id, pending]);

  const send = useCallback(
    (text: string) => {
      const made = newPending(id, text, requestOptions());
      keep(id, made);
      setPending(made);
      setReflection(undefined);
      setStopping(false);
      void post(made);
    },
    [id, post],
  );
  const stop = useCallback(() => {
    const running = reflecting?.live ? reflection : run;
    if (running !== undefined) return cancel(running);
    unwanted.current = pending?.key;
    setStopping(true);
  }, [cancel, run, reflection, reflecting?.live, pending?.key]);
  const reflect = useCallback(() => {
    setProblem(undefined);
    setStopping(false);
    const { model } = requestOptions();
    api.reflect(id, model ?? "").then(setReflection, (error: unknown) => setProblem(asHeadrace(error)));
  }, [id]);

  return {
    id,
    head,
    count,
    entries,
    facts,
    followed: elsewhere ? undefined : followed,
    pending,
    busy,
    stopping: stopping && busy,
    problem,
    reflecting,
    send,
    retry: () => void (pending !== undefined && pending.run === undefined ? post(pending) : look()),
    stop,
    reflect,
  };
}

/** A view of the conversation, read again when `key` changes; what was there stays until the new one has come. */
export function useView<T>(load: (() => Promise<T>) | undefined, key: string): View<T> {
  const [view, setView] = useState<View<T>>({});
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const wanted = latest.current;
    if (wanted === undefined) return setView({});
    let left = false;
    wanted().then(
      (value) => void (left || setView({ value })),
      (error: unknown) => void (left || setView((old) => ({ ...old, error: asHeadrace(error) }))),
    );
    return () => void (left = true);
  }, [key]);
  return view;
}

export interface View<T> {
  readonly value?: T;
  readonly error?: HeadraceError;
}

export function asHeadrace(error: unknown): HeadraceError {
  return error instanceof HeadraceError ? error : new HeadraceError("bad-response", String(error), { cause: error });
}
