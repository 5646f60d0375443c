/** The chat: the list of conversations, the open one, and where the next message is written. */

import { runningAnswer, type Conversation } from "@headrace/client";
import { useCallback, useEffect, useRef, useState } from "react";
import { visible } from "../markdown/render.tsx";
import { go } from "../router.ts";
import { requestOptions } from "../settings.ts";
import { chat, loadModels, useChat, useModels } from "../state.ts";
import { useStickyScroll } from "../ui/hooks.ts";
import { Down, Menu, Plus } from "../ui/icons.tsx";
import { wordsFor } from "../words.ts";
import { AnswerView } from "./answer.tsx";
import { Composer } from "./composer.tsx";
import { Empty } from "./empty.tsx";
import { ModelPicker } from "./model-picker.tsx";
import { openSettings } from "./settings-dialog.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Announcer } from "./announcer.tsx";

export function ChatPage({ conversation }: { readonly conversation: string | undefined }) {
  const { conversations, current, notice } = useChat();
  const models = useModels();
  const [drawer, setDrawer] = useState(false);
  const [stopping, setStopping] = useState<string>();
  const scroll = useStickyScroll();
  const running = runningAnswer(current);

  useEffect(() => {
    chat.open(conversation);
    scroll.toEnd();
  }, [conversation, scroll.toEnd]);
  useEffect(() => {
    document.title = current === undefined ? "Headrace" : `${current.title} · Headrace`;
  }, [current?.title]);

  const send = useCallback(
    (text: string) => {
      const id = chat.send(text, requestOptions());
      go(`c/${id}`, { replace: conversation === undefined ? false : true });
      scroll.toEnd();
    },
    [conversation, scroll.toEnd],
  );
  const retry = useCallback(() => {
    chat.retry(requestOptions());
    scroll.toEnd();
  }, [scroll.toEnd]);
  const stop = useCallback(() => {
    const answer = runningAnswer(chat.getSnapshot().current);
    if (answer === undefined) return;
    setStopping(answer.id);
    chat.stop().catch(() => setStopping(undefined));
  }, []);
  const closeDrawer = useCallback(() => setDrawer(false), []);

  const escape = useRef<() => void>(() => {});
  escape.current = () => {
    if (drawer) setDrawer(false);
    else if (document.querySelector("dialog[open]") === null) stop();
  };
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented) escape.current();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);

  const empty = current === undefined || current.messages.length === 0;
  return (
    <div className="shell">
      <Sidebar conversations={conversations} current={current?.id} open={drawer} onClose={closeDrawer} />
      <main className="main" inert={drawer}>
        <header className="topbar">
          <button
            type="button"
            className="icon-button drawer-only"
            aria-label="Conversations"
            aria-expanded={drawer}
            aria-controls="sidebar"
            onClick={() => setDrawer(true)}
          >
            <Menu />
          </button>
          <ModelPicker />
          <span className="topbar-space" />
          <button type="button" className="icon-button drawer-only" aria-label="New chat" onClick={() => go("")}>
            <Plus />
          </button>
        </header>
        {models.error !== undefined && BANNERS.has(models.error.code) && <ServerBanner code={models.error.code} />}
        {notice !== undefined && (
          <div className="banner" role="alert">
            {notice}
          </div>
        )}
        <div className="scroller" ref={scroll.scroller}>
          <div className="thread" ref={scroll.content} data-empty={empty}>
            {empty ? <Empty onAsk={send} /> : <Messages conversation={current} onRetry={retry} />}
          </div>
        </div>
        <div className="dock">
          {!scroll.atEnd && !empty && (
            <button type="button" className="jump" onClick={() => scroll.toEnd(true)}>
              <Down size={15} /> Jump to latest
            </button>
          )}
          <Composer
            key={current?.id ?? "new"}
            draft={current?.id ?? "new"}
            running={running !== undefined}
            stopping={running !== undefined && stopping === running.id}
            onSend={send}
            onStop={stop}
          />
          <p className="hint">Models make mistakes. Check what matters.</p>
        </div>
      </main>
      <Announcer conversation={current} />
    </div>
  );
}

/** What keeps the whole page from working; any other trouble with the list is told where the list is. */
const BANNERS: ReadonlySet<string> = new Set(["network", "unauthorized", "forbidden"]);

function ServerBanner({ code }: { readonly code: string }) {
  const words = wordsFor(code);
  return (
    <div className="banner" role="alert">
      <span>
        <strong>{words.title}.</strong> {words.advice}
      </span>
      <button type="button" className="button small" onClick={words.settings ? openSettings : () => void loadModels()}>
        {words.settings ? "Open settings" : "Try again"}
      </button>
    </div>
  );
}

function Messages({ conversation, onRetry }: { readonly conversation: Conversation; readonly onRetry: () => void }) {
  const last = conversation.messages.length - 1;
  const reattach = useCallback(() => chat.reattach(), []);
  return conversation.messages.map((message, index) =>
    message.role === "user" ? (
      <article key={message.id} className="question" aria-label="Your message">
        <div dir="auto">{visible(message.text)}</div>
      </article>
    ) : (
      <AnswerView key={message.id} answer={message} last={index === last} onRetry={onRetry} onReattach={reattach} />
    ),
  );
}
