/**
 * The message that was sent and has no ending yet, kept where a reload of this tab finds it.
 *
 * It is stored before it is posted, with the key it is posted with: posted again after a reload it is the same run.
 */

import { uuid, type RequestOptions, type StartBody } from "@headrace/client";

export interface Pending {
  readonly key: string;
  readonly text: string;
  /** When it was sent, by this browser's clock. */
  readonly at: number;
  readonly body: StartBody;
  /** Known once the server has answered. */
  readonly run?: string;
}

const PLACE = "headrace:companion:";

export function pendingOf(conversation: string): Pending | undefined {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE + conversation) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

export function keep(conversation: string, pending: Pending | undefined): void {
  if (pending === undefined) sessionStorage.removeItem(PLACE + conversation);
  else sessionStorage.setItem(PLACE + conversation, JSON.stringify(pending));
}

export function newPending(conversation: string, text: string, options: RequestOptions): Pending {
  const body = { ...options, input: text, conversation, memory: true };
  return { key: uuid(), text, at: Date.now(), body };
}
