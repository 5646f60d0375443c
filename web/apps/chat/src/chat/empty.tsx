/** What a new conversation shows. */

import { useSettings } from "../settings.ts";
import { Mark } from "../ui/icons.tsx";

const EXAMPLES = [
  { title: "Explain something", text: "Explain how a water wheel turns flow into work, with one everyday comparison." },
  {
    title: "Write some code",
    text: "Write a Python generator that reads server-sent events from a byte stream, with a short test.",
  },
  {
    title: "Compare",
    text: "Compare SSE, WebSocket and long polling in a table: direction, reconnect, proxies, cost.",
  },
  { title: "Plan", text: "Plan a three-day walk along a river for two people who like good food and short days." },
];

/** What the demo, a script, has an answer to. */
const FOR_THE_DEMO = [
  { title: "A long answer", text: "Tell me something long, and I will reload this page in the middle of it." },
  { title: "Stop", text: "What happens when I press Stop or Escape while you answer?" },
  { title: "Resume", text: "How does a reader resume when its connection breaks?" },
  { title: "Reasoning", text: "Let me see you think before you answer." },
];

export function Empty({ onAsk }: { readonly onAsk: (text: string) => void }) {
  const { model } = useSettings();
  return (
    <div className="empty">
      <Mark size={44} />
      <h1>What would you like to know?</h1>
      <p className="muted">
        {model === "demo"
          ? "You are talking to the built-in demo, which needs no key. Set a provider's key on the server to talk to a real model."
          : "Every word is shown the moment the model says it."}
      </p>
      <ul className="examples">
        {(model === "demo" ? FOR_THE_DEMO : EXAMPLES).map((example) => (
          <li key={example.title}>
            <button type="button" onClick={() => onAsk(example.text)}>
              <strong>{example.title}</strong>
              <span>{example.text}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
