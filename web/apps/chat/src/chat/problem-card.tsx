/** A failure in words: what happened, what to do, and the button that does it. */

import { visible } from "../markdown/render.tsx";
import { Retry, Warning } from "../ui/icons.tsx";
import type { Words } from "../words.ts";
import { openSettings } from "./settings-dialog.tsx";

export function ProblemCard(props: {
  readonly words: Words;
  readonly code: string;
  readonly message: string;
  readonly onRetry?: (() => void) | undefined;
  readonly onReattach?: (() => void) | undefined;
}) {
  const { words, code, message } = props;
  const again = props.onReattach ?? props.onRetry;
  return (
    <section className="problem" role="alert">
      <Warning size={18} />
      <div>
        <h3>{words.title}</h3>
        <p>{words.advice}</p>
        <p className="problem-detail">
          <code>{code}</code> {visible(message)}
        </p>
        <div className="row">
          {words.retry && again !== undefined && (
            <button type="button" className="button" onClick={again}>
              <Retry size={15} /> Try again
            </button>
          )}
          {words.settings && (
            <button type="button" className="button" onClick={openSettings}>
              Open settings
            </button>
          )}
        </div>
      </div>
    </section>
  );
}
