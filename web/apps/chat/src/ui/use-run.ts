/**
 * A run on a page: `useRun` follows one by its id; `useStarter` starts one, shows it and stops it.
 *
 * A page keeps the run's id where a reload finds it again (the address, mostly) and hands it to `show`: the
 * run is then read from its first event. Chat answers have a hook of their own, `chat/use-run.ts`, because the
 * chat store owns their views.
 */

import { HeadraceError, RunView, uuid, type RunSnapshot, type StartBody } from "@headrace/client";
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { transport } from "../state.ts";

export interface Followed extends RunSnapshot {
  /** Whether the run may still bring something. */
  readonly live: boolean;
  /** Follow again after an error. */
  readonly reattach: () => void;
}

const never = () => () => {};
const nothing = () => undefined;

/** The run's state, again each frame in which it changed; undefined without a run. */
export function useRun(run: string | undefined): Followed | undefined {
  const view = useMemo(() => (run === undefined ? undefined : new RunView(run, transport)), [run]);
  const snapshot = useSyncExternalStore(view?.subscribe ?? never, view?.getSnapshot ?? nothing);
  const reattach = useCallback(() => void view?.attach(), [view]);
  useEffect(() => {
    reattach();
    return () => view?.detach();
  }, [view, reattach]);
  if (snapshot === undefined) return undefined;
  return { ...snapshot, live: !snapshot.state.ended && snapshot.error === undefined, reattach };
}

export interface Starter {
  readonly run: string | undefined;
  readonly followed: Followed | undefined;
  /** From the click until the run has ended or cannot be followed. */
  readonly busy: boolean;
  readonly stopping: boolean;
  /** Why there is no run: what the server said to `POST /v1/runs`. */
  readonly problem: HeadraceError | undefined;
  /** Starts a run and follows it; gives its id, or undefined when the server refused. */
  readonly start: (body: StartBody) => Promise<string | undefined>;
  readonly stop: () => void;
  /** Follows a run that is there already, or none. */
  readonly show: (run: string | undefined) => void;
}

export function useStarter(first?: string): Starter {
  const [run, setRun] = useState(first);
  const [starting, setStarting] = useState(false);
  const [stopping, setStopping] = useState(false);
  const [problem, setProblem] = useState<HeadraceError>();
  /** Counts what was asked for, so that an answer that comes late changes nothing. */
  const turn = useRef(0);
  const followed = useRun(run);

  const show = useCallback((next: string | undefined) => {
    turn.current += 1;
    setRun(next);
    setStarting(false);
    setStopping(false);
    setProblem(undefined);
  }, []);

  const start = useCallback(
    async (body: StartBody) => {
      show(undefined);
      setStarting(true);
      const mine = turn.current;
      try {
        const started = await transport.start(body, { key: uuid() });
        if (turn.current === mine) setRun(started.run);
        return started.run;
      } catch (error) {
        if (turn.current === mine) setProblem(asHeadrace(error));
        return undefined;
      } finally {
        if (turn.current === mine) setStarting(false);
      }
    },
    [show],
  );

  const stop = useCallback(() => {
    if (run === undefined) return;
    setStopping(true);
    transport.cancel(run).catch((error: unknown) => {
      setStopping(false);
      setProblem(asHeadrace(error));
    });
  }, [run]);

  return { run, followed, busy: starting || (followed?.live ?? false), stopping, problem, start, stop, show };
}

function asHeadrace(error: unknown): HeadraceError {
  return error instanceof HeadraceError ? error : new HeadraceError("bad-response", String(error), { cause: error });
}
