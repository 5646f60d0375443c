/**
 * Server-sent events: bytes in, frames out, by the rules of WHATWG HTML §9.2.
 *
 * The parser is a value with no socket in it. Feed it bytes or text cut anywhere; it returns the
 * frames that were completed. A frame without its closing blank line is never returned.
 * Knows nothing about runs: that is `follow.ts`.
 */

export interface SseFrame {
  /** The `event:` field, or "message" when there was none. */
  readonly event: string;
  /** The `data:` lines, joined by a line feed. */
  readonly data: string;
  /** The last event id seen on this stream, which sticks until it is changed. */
  readonly id: string;
}

export interface SseParser {
  /** Takes the next piece of the stream and returns the frames it completed, oldest first. */
  feed(piece: Uint8Array | string): SseFrame[];
  /** The last event id; moves on an `id:` even when its frame had no data. */
  readonly lastEventId: string;
  /** The reconnection time in milliseconds, from the last valid `retry:` line. */
  readonly retry: number | undefined;
}

/** A line longer than this is refused: nothing a server sends in one event comes near it. */
const MAX_LINE = 32 * 1024 * 1024;

const LF = 10;

export function sseParser(): SseParser {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  // A line that is still open is kept in pieces and joined once, so that a long line cut into many
  // pieces costs its length, not its square.
  let open: string[] = [];
  let openLength = 0;
  let afterCR = false;
  let atStart = true;
  let data: string[] = [];
  let event = "";
  let pendingId = "";
  let lastEventId = "";
  let retry: number | undefined;

  function line(text: string, out: SseFrame[]): void {
    if (text === "") {
      // The id buffer becomes the last event id even when there is no data to dispatch.
      lastEventId = pendingId;
      if (data.length > 0) out.push({ event: event || "message", data: data.join("\n"), id: lastEventId });
      data = [];
      event = "";
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? text : text.slice(0, colon);
    let value = colon < 0 ? "" : text.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    switch (field) {
      case "data":
        data.push(value);
        break;
      case "event":
        event = value;
        break;
      case "id":
        if (!value.includes("\0")) pendingId = value;
        break;
      case "retry":
        if (/^[0-9]+$/.test(value)) retry = Number(value);
        break;
    }
  }

  function feedText(input: string): SseFrame[] {
    const out: SseFrame[] = [];
    let text = input;
    if (text === "") return out;
    if (atStart) {
      atStart = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    let start = 0;
    // The CR at the end of the last piece already closed its line; an LF now belongs to it.
    if (afterCR && text.charCodeAt(0) === LF) start = 1;
    if (text !== "") afterCR = false;
    const breaks = /\r\n|\r|\n/g;
    breaks.lastIndex = start;
    for (let match = breaks.exec(text); match !== null; match = breaks.exec(text)) {
      open.push(text.slice(start, match.index));
      const whole = open.length === 1 ? open[0]! : open.join("");
      open = [];
      openLength = 0;
      start = breaks.lastIndex;
      afterCR = match[0] === "\r" && start === text.length;
      line(whole, out);
    }
    if (start < text.length) {
      open.push(text.slice(start));
      openLength += text.length - start;
      if (openLength > MAX_LINE)
        throw new RangeError(`a line of the event stream is longer than ${MAX_LINE} characters`);
    }
    return out;
  }

  return {
    feed: (piece) => feedText(typeof piece === "string" ? piece : decoder.decode(piece, { stream: true })),
    get lastEventId() {
      return lastEventId;
    },
    get retry() {
      return retry;
    },
  };
}
