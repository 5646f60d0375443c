/**
 * The one error the client throws on purpose, and how it is read from an HTTP answer.
 *
 * `code` is one of the contract's words, or one of three that only a client can meet:
 * `network` (no answer at all), `bad-response` (an answer that is not Headrace's), and
 * `cursor-overlap` (the log was merged across our cursor: read again from the start).
 */

import type { ErrorCode } from "./events.ts";

export type ClientCode = ErrorCode | "network" | "bad-response" | "cursor-overlap";

export class HeadraceError extends Error {
  override readonly name = "HeadraceError";
  readonly code: ClientCode | (string & {});
  /** The HTTP status, or 0 when there was no answer. */
  readonly status: number;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ClientCode | (string & {}),
    message: string,
    options: { status?: number; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? 0;
    this.details = options.details ?? {};
  }
}

/** The error in an HTTP answer: Headrace's own body when there is one, else what the status says. */
export async function errorFrom(response: Response): Promise<HeadraceError> {
  const status = response.status;
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text) as { error?: { code?: unknown; message?: unknown; details?: unknown } };
    if (body.error && typeof body.error.code === "string") {
      const details = body.error.details;
      return new HeadraceError(body.error.code, String(body.error.message ?? body.error.code), {
        status,
        ...(typeof details === "object" && details !== null ? { details: details as Record<string, unknown> } : {}),
      });
    }
  } catch {
    // Not JSON: a proxy's page, most likely. The status has to do.
  }
  const code = CODE_OF_STATUS[status] ?? "bad-response";
  return new HeadraceError(code, `the server answered ${status} without saying why`, { status });
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: "bad-request",
  401: "unauthorized",
  403: "forbidden",
  404: "run-not-found",
  410: "retention-passed",
  413: "too-large",
  429: "too-many",
};
