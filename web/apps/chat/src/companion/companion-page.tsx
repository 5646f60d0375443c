/**
 * The companion: a chat that remembers, and everything it remembers.
 *
 * The address says which conversation and which part of it is shown (`#/companion/garden/ledger?fact=12`). Nothing of a
 * conversation is kept in the browser but the message under way: the page shows the ledger and what it adds up to.
 */

import { conversationId } from "@headrace/client";
import { useCallback, useEffect, useRef, useState } from "react";
import { ModelPicker } from "../chat/model-picker.tsx";
import { go, usePlace } from "../router.ts";
import "../styles/companion.css";
import { Menu, Thought } from "../ui/icons.tsx";
import { ChatTab } from "./chat-tab.tsx";
import { CommitmentsTab } from "./commitments-tab.tsx";
import { ContextTab } from "./context-tab.tsx";
import { GraphTab } from "./graph-tab.tsx";
import { LedgerTab } from "./ledger-tab.tsx";
import { ConversationList } from "./list.tsx";
import { MetricsTab } from "./metrics-tab.tsx";
import { addressOf, Trouble, type TabProps } from "./parts.tsx";
import { SideMirror } from "./side-mirror.tsx";
import { TracesTab } from "./traces-tab.tsx";
import { useConversation } from "./use-conversation.ts";

const TABS = [
  ["", "Chat", ChatTab],
  ["ledger", "Ledger", LedgerTab],
  ["graph", "Graph", GraphTab],
  ["traces", "Traces", TracesTab],
  ["commitments", "Commitments", CommitmentsTab],
  ["metrics", "Metrics", MetricsTab],
  ["context", "Context", ContextTab],
] as const;

export default function CompanionPage() {
  const place = usePlace();
  const [made, setMade] = useState(conversationId);
  const id = place.parts[0];
  useEffect(() => {
    if (id === made) setMade(conversationId()); // it has begun: the next new one is another
  }, [id, made]);
  const again = useCallback(() => go("companion"), []);
  return <Shell key={id ?? made} id={id ?? made} fresh={id === undefined} tab={place.parts[1] ?? ""} onNew={again} />;
}

function Shell(props: {
  readonly id: string;
  /** The conversation has no address yet: it gets one with its first message. */
  readonly fresh: boolean;
  readonly tab: string;
  readonly onNew: () => void;
}) {
  const { id, fresh, tab } = props;
  const conversation = useConversation(id, fresh);
  const [drawer, setDrawer] = useState(false);
  const close = useCallback(() => setDrawer(false), []);
  const Tab = TABS.find(([path]) => path === tab)?.[2] ?? ChatTab;
  const began = conversation.count > 0;

  useEffect(() => {
    document.title = `${fresh ? "Companion" : id} · Headrace`;
  }, [id, fresh]);

  const send = (text: string) => {
    conversation.send(text);
    if (fresh) go(addressOf(id));
  };

  const parts = useRef<HTMLElement>(null);
  useEffect(() => {
    // On a phone the parts are a strip that scrolls.
    parts.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [tab]);

  const escape = useRef<() => void>(() => {});
  escape.current = () => {
    if (drawer) setDrawer(false);
    else if (document.querySelector("dialog[open]") === null && conversation.busy) conversation.stop();
  };
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented) escape.current();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);

  const shown: TabProps = { conversation, onSend: send };
  return (
    <div className="shell companion">
      <ConversationList
        current={fresh ? undefined : id}
        version={`${conversation.count > 0} ${conversation.head?.updated ?? ""}`}
        open={drawer}
        onClose={close}
        onNew={props.onNew}
      />
      <main className="main" inert={drawer}>
        <header className="topbar">
          <button
            type="button"
            className="icon-button drawer-only"
            aria-label="Conversations"
            aria-expanded={drawer}
            onClick={() => setDrawer(true)}
          >
            <Menu />
          </button>
          <ModelPicker />
          <span className="topbar-space" />
          <button
            type="button"
            className="button"
            title="The model looks back; what it says is remembered"
            disabled={!began || conversation.busy}
            onClick={() => {
              if (tab !== "") go(addressOf(id));
              conversation.reflect();
            }}
          >
            <Thought size={16} /> Reflect
          </button>
        </header>
        <nav ref={parts} className="parts" aria-label="Parts of the conversation">
          {TABS.map(([path, name]) => (
            <a
              key={path}
              href={`#/${fresh ? "companion" : addressOf(id, path)}`}
              aria-current={path === tab ? "page" : undefined}
              aria-disabled={fresh && path !== ""}
            >
              {name}
            </a>
          ))}
        </nav>
        {conversation.problem !== undefined && <Trouble error={conversation.problem} onRetry={conversation.retry} />}
        <div className="companion-body">
          <Tab {...shown} />
          {tab !== "metrics" && tab !== "graph" && began && <SideMirror conversation={conversation} />}
        </div>
      </main>
    </div>
  );
}
