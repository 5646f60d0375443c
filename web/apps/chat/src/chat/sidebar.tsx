/** The conversations, newest first. On a phone this is a drawer. */

import type { Conversation } from "@headrace/client";
import { memo, useEffect, useRef, useState } from "react";
import { go } from "../router.ts";
import { changeSettings, useSettings } from "../settings.ts";
import { chat } from "../state.ts";
import { Close, Gear, Mark, Moon, Pencil, Plus, Sun, Trash } from "../ui/icons.tsx";
import { openSettings } from "./settings-dialog.tsx";

export const Sidebar = memo(function Sidebar(props: {
  readonly conversations: readonly Conversation[];
  readonly current: string | undefined;
  readonly open: boolean;
  readonly onClose: () => void;
}) {
  const { conversations, current, open, onClose } = props;
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (open) close.current?.focus();
  }, [open]);
  return (
    <>
      <div className="backdrop" data-open={open} onClick={onClose} />
      <aside id="sidebar" className="sidebar" data-open={open} aria-label="Conversations">
        <div className="sidebar-head">
          <a className="brand" href="#/" onClick={onClose}>
            <Mark />
            <span>Headrace</span>
          </a>
          <button
            type="button"
            ref={close}
            className="icon-button drawer-only"
            aria-label="Close the list"
            onClick={onClose}
          >
            <Close />
          </button>
        </div>
        <button
          type="button"
          className="button new-chat"
          onClick={() => {
            go("");
            onClose();
          }}
        >
          <Plus size={17} /> New chat
        </button>
        <nav className="conversations">
          {groups(conversations).map(([name, items]) => (
            <section key={name}>
              <h2>{name}</h2>
              <ul>
                {items.map((conversation) => (
                  <Item
                    key={conversation.id}
                    conversation={conversation}
                    current={conversation.id === current}
                    onOpen={onClose}
                  />
                ))}
              </ul>
            </section>
          ))}
          {conversations.length === 0 && (
            <p className="muted">Your conversations will be listed here. They stay in this browser.</p>
          )}
        </nav>
        <div className="sidebar-foot">
          <button type="button" className="quiet-button" onClick={openSettings}>
            <Gear /> Settings
          </button>
          <ThemeButton />
        </div>
      </aside>
    </>
  );
});

function ThemeButton() {
  const settings = useSettings();
  const dark =
    settings.theme === "dark" || (settings.theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  const label = dark ? "Light look" : "Dark look";
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={label}
      title={label}
      onClick={() => changeSettings({ theme: dark ? "light" : "dark" })}
    >
      {dark ? <Sun /> : <Moon />}
    </button>
  );
}

const Item = memo(function Item(props: {
  readonly conversation: Conversation;
  readonly current: boolean;
  readonly onOpen: () => void;
}) {
  const { conversation, current } = props;
  const [mode, setMode] = useState<"idle" | "rename" | "remove">("idle");
  useEffect(() => {
    if (mode !== "remove") return;
    const timer = setTimeout(() => setMode("idle"), 4_000);
    return () => clearTimeout(timer);
  }, [mode]);

  if (mode === "rename") {
    const rename = (title: string) => {
      if (title.trim() !== "") chat.rename(conversation.id, title);
      setMode("idle");
    };
    return (
      <li className="conversation">
        <input
          autoFocus
          defaultValue={conversation.title}
          aria-label="New name"
          onFocus={(event) => event.target.select()}
          onBlur={(event) => rename(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") rename(event.currentTarget.value);
            if (event.key === "Escape") {
              event.nativeEvent.stopImmediatePropagation();
              setMode("idle");
            }
          }}
        />
      </li>
    );
  }
  return (
    <li className="conversation" data-current={current}>
      <a
        href={`#/c/${conversation.id}`}
        aria-current={current ? "page" : undefined}
        onClick={props.onOpen}
        title={conversation.title}
      >
        {conversation.title}
      </a>
      <span className="conversation-actions">
        <button
          type="button"
          className="icon-button small"
          aria-label={`Rename ${conversation.title}`}
          onClick={() => setMode("rename")}
        >
          <Pencil size={15} />
        </button>
        {mode === "remove" ? (
          <button
            type="button"
            className="button danger small"
            autoFocus
            onClick={() => {
              chat.remove(conversation.id);
              if (current) go("", { replace: true });
            }}
          >
            Delete
          </button>
        ) : (
          <button
            type="button"
            className="icon-button small"
            aria-label={`Delete ${conversation.title}`}
            onClick={() => setMode("remove")}
          >
            <Trash size={15} />
          </button>
        )}
      </span>
    </li>
  );
});

function groups(conversations: readonly Conversation[]): [string, Conversation[]][] {
  const today = new Date().setHours(0, 0, 0, 0);
  const out = new Map<string, Conversation[]>();
  for (const conversation of conversations) {
    const days = (today - conversation.updated) / 86_400_000;
    const name = days <= 0 ? "Today" : days <= 1 ? "Yesterday" : days <= 7 ? "Last week" : "Earlier";
    const group = out.get(name);
    if (group === undefined) out.set(name, [conversation]);
    else group.push(conversation);
  }
  return [...out];
}
