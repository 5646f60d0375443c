/** What the next message would be sent with: the parts of the system message, the messages, the nodes. */

import { useEffect, useState } from "react";
import { visible } from "../markdown/render.tsx";
import * as api from "./api.ts";
import { NodeLink, Nothing, Panel, Trouble, type TabProps } from "./parts.tsx";
import { useView } from "./use-conversation.ts";

export function ContextTab({ conversation }: TabProps) {
  const { id, count } = conversation;
  const [text, setText] = useState("");
  const [asked, setAsked] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setAsked(text), 300);
    return () => clearTimeout(timer);
  }, [text]);
  const { value, error } = useView(count === 0 ? undefined : () => api.context(id, asked), `${id} ${count} ${asked}`);
  return (
    <Panel name="Context">
      <label className="asked">
        <span>What would be sent with this message?</span>
        <input
          value={text}
          maxLength={20_000}
          placeholder="And what about the plants?"
          onChange={(event) => setText(event.target.value)}
        />
      </label>
      {error !== undefined && <Trouble error={error} />}
      {count === 0 && <Nothing>Nothing is remembered yet: only the message would be sent.</Nothing>}
      {value !== undefined && (
        <>
          <p className="muted small" role="status">
            After fact {value.seq}: {value.messages.length} {value.messages.length === 1 ? "message" : "messages"},{" "}
            {value.messages.reduce((sum, message) => sum + message.content.length, 0).toLocaleString("en-US")}{" "}
            characters.
          </p>
          {value.nodes.length > 0 && (
            <p className="nodes small">
              <span className="muted">Nodes of the graph:</span>{" "}
              {value.nodes.map((node) => (
                <NodeLink key={node} conversation={id} node={node} />
              ))}
            </p>
          )}
          <h2>Memory</h2>
          {value.parts.map((part) => (
            <Part key={part.name} name={part.name} text={part.text} open={part.name !== "markers"} />
          ))}
          <h2>Messages</h2>
          {value.messages.map((message, index) => (
            <Part key={index} name={message.role} text={message.content} open={message.role !== "system"} />
          ))}
        </>
      )}
    </Panel>
  );
}

function Part(props: { readonly name: string; readonly text: string; readonly open: boolean }) {
  return (
    <details className="card part" open={props.open}>
      <summary>
        {visible(props.name)} <small className="muted">{props.text.length.toLocaleString("en-US")} characters</small>
      </summary>
      <pre>{visible(props.text)}</pre>
    </details>
  );
}
