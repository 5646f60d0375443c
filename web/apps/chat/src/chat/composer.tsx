/** Where a message is written. Enter sends, Shift+Enter is a new line, Escape stops. */

import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { Send, Stop } from "../ui/icons.tsx";

const DRAFT = "headrace:draft:";

export function Composer(props: {
  /** Which draft this is: one a conversation. */
  readonly draft: string;
  readonly running: boolean;
  readonly stopping: boolean;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
}) {
  const { draft, running, stopping, onSend, onStop } = props;
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT + draft) ?? "");
  const area = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    if (text === "") sessionStorage.removeItem(DRAFT + draft);
    else sessionStorage.setItem(DRAFT + draft, text.slice(0, 200_000));
  }, [text, draft]);

  useLayoutEffect(() => {
    const box = area.current;
    if (box === null) return;
    box.style.height = "0";
    box.style.height = `${Math.min(box.scrollHeight, 240)}px`;
  }, [text]);

  useEffect(() => {
    // A phone's keyboard should come when it is asked for.
    if (matchMedia("(pointer: fine)").matches) area.current?.focus();
  }, []);

  const ready = text.trim() !== "" && !running;
  const send = () => {
    if (!ready) return;
    // At once, and not in the effect: a first message moves the page to its new conversation.
    sessionStorage.removeItem(DRAFT + draft);
    setText("");
    onSend(text.trim());
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={area}
        value={text}
        rows={1}
        placeholder="Ask anything"
        aria-label="Message"
        enterKeyHint="send"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      {running ? (
        <button
          type="button"
          className="send stop"
          onClick={onStop}
          disabled={stopping}
          aria-label="Stop"
          title="Stop (Esc)"
        >
          <Stop size={20} />
          <span>{stopping ? "Stopping…" : "Stop"}</span>
        </button>
      ) : (
        <button className="send" disabled={!ready} aria-label="Send" title="Send (Enter)">
          <Send size={20} />
        </button>
      )}
    </form>
  );
}
