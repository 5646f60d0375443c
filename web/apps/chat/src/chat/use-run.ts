/** The state of an answer, live or finished, as one hook. */

import { emptyRun, isRunning, type Answer, type RunSnapshot } from "@headrace/client";
import { useSyncExternalStore } from "react";
import { chat } from "../state.ts";

const nothing = () => () => {};
const WAITING: RunSnapshot = { state: emptyRun(""), connection: "connecting" };
const finished = new WeakMap<object, RunSnapshot>();

export function useAnswer(answer: Answer): RunSnapshot {
  const view = answer.state === undefined && answer.run !== undefined ? chat.view(answer.run) : undefined;
  return useSyncExternalStore(view?.subscribe ?? nothing, view?.getSnapshot ?? (() => snapshotOf(answer)));
}

function snapshotOf(answer: Answer): RunSnapshot {
  if (answer.state === undefined) return WAITING;
  let snapshot = finished.get(answer.state);
  if (snapshot === undefined) {
    snapshot = { state: answer.state, connection: "closed" };
    finished.set(answer.state, snapshot);
  }
  return snapshot;
}

export { isRunning };
