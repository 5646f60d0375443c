/** The server's conversations, newest first; on a phone a drawer. */

import { memo, useEffect, useRef, useState } from "react";
import { openSettings } from "../chat/settings-dialog.tsx";
import { visible } from "../markdown/render.tsx";
import { go } from "../router.ts";
import { Close, Gear, Plus } from "../ui/icons.tsx";
import * as api from "./api.ts";
import { addressOf, clock } from "./parts.tsx";
import { useView } from "./use-conversation.ts";

export const ConversationList = memo(function ConversationList(props: {
  readonly current: string | undefined;
  /** Changes when the list may have. */
  readonly version: string;
  readonly open: boolean;
  readonly onClose: () => void;
  readonly onNew: () => void;
}) {
  const { current, open, onClose } = props;
  const { value, error } = useView(() => api.conversations(), props.version);
  const [wanted, setWanted] = useState("");
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (open) close.current?.focus();
  }, [open]);
  const listed = value?.conversations ?? [];
  const titles = useTitles(listed);
  return (
    <>
      <div className="backdrop" data-open={open} onClick={onClose} />
      <aside className="sidebar" data-open={open} aria-label="Conversations">
        <div className="sidebar-head">
          <span className="brand">Companion</span>
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
            props.onNew();
            onClose();
          }}
        >
          <Plus size={17} /> New conversation
        </button>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (wanted.trim() === "") return;
            go(addressOf(wanted.trim().slice(0, 200)));
            setWanted("");
            onClose();
          }}
        >
          <input
            value={wanted}
            maxLength={200}
            placeholder="Open or begin by name"
            aria-label="Open or begin by name"
            onChange={(event) => setWanted(event.target.value)}
          />
        </form>
        <nav className="conversations">
          <ul>
            {listed.map((found) => (
              <li key={found.conversation} className="conversation" data-current={found.conversation === current}>
                <a
                  href={`#/${addressOf(found.conversation)}`}
                  aria-current={found.conversation === current ? "page" : undefined}
                  title={found.conversation}
                  onClick={onClose}
                >
                  {titles.get(found.conversation) ?? visible(found.conversation)}
                  <small>
                    {found.count.toLocaleString("en-US")} {found.count === 1 ? "fact" : "facts"} ·{" "}
                    {clock(found.updated)}
                  </small>
                </a>
              </li>
            ))}
          </ul>
          {value !== undefined && listed.length === 0 && (
            <p className="muted">Conversations of this server will be listed here.</p>
          )}
          {error !== undefined && <p className="muted">The list cannot be read: {error.message}</p>}
        </nav>
        <div className="sidebar-foot">
          <button type="button" className="quiet-button" onClick={openSettings}>
            <Gear /> Settings
          </button>
        </div>
      </aside>
    </>
  );
});

/** Conversations whose first words are asked for: the newest. */
const TITLED = 30;
/** A first fact never changes: each is asked for once. */
const known = new Map<string, string>();

/** What those without a name of their own began with. */
function useTitles(listed: readonly api.Head[]): ReadonlyMap<string, string> {
  const [titles, setTitles] = useState<ReadonlyMap<string, string>>(known);
  useEffect(() => {
    let left = false;
    const wanted = listed.slice(0, TITLED).filter(({ conversation: id }) => /^(conv|run)_/.test(id) && !known.has(id));
    const ask = async () => {
      for (const { conversation } of wanted) {
        const first = (await api.facts(conversation, 0, 1))[0];
        known.set(conversation, visible(first?.content.slice(0, 80).replace(/\s+/g, " ").trim() || conversation));
        if (left) return;
      }
      if (wanted.length > 0) setTitles(new Map(known));
    };
    ask().catch(() => {}); // the names are there already
    return () => void (left = true);
  }, [listed]);
  return titles;
}
