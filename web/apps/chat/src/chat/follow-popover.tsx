/** The same run from elsewhere: another tab, a terminal, a script. */

import { runAddress } from "../router.ts";
import { getSettings } from "../settings.ts";
import { transport } from "../state.ts";
import { CopyButton } from "../ui/copy.tsx";
import { Share } from "../ui/icons.tsx";
import { Popover } from "../ui/popover.tsx";

const DEFAULT_SERVER = "http://127.0.0.1:8642";

export function FollowPopover({ run }: { readonly run: string }) {
  return (
    <Popover label="Follow from elsewhere" className="icon-button small" button={<Share size={15} />}>
      {() => <FollowFromElsewhere run={run} />}
    </Popover>
  );
}

export function FollowFromElsewhere({ run }: { readonly run: string }) {
  const origin = location.origin;
  const key = getSettings().apiKey === "" ? "" : ' -H "Authorization: Bearer $HEADRACE_API_KEY"';
  const tail = `headrace tail ${run}${origin === DEFAULT_SERVER ? "" : ` --url ${origin}`}`;
  const curl = `curl -N${key} ${origin}${transport.eventsUrl(run)}`;
  return (
    <div className="follow">
      <h3>Follow from elsewhere</h3>
      <p className="muted">Any number of readers see the same words at the same time, each from the start.</p>
      <Line name="Browser" text={runAddress(run)} href />
      <Line name="Terminal" text={tail} />
      <Line name="Raw events" text={curl} />
    </div>
  );
}

function Line({ name, text, href = false }: { readonly name: string; readonly text: string; readonly href?: boolean }) {
  return (
    <div className="follow-line">
      <span>{name}</span>
      {href ? (
        <a href={text} target="_blank" rel="noopener">
          {text}
        </a>
      ) : (
        <code>{text}</code>
      )}
      <CopyButton text={text} label={`Copy: ${name}`} />
    </div>
  );
}
