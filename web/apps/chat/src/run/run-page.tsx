/** One run, read only: what `?run=` shows. It follows live when the run is still going. */

import { useEffect, useState } from "react";
import { FollowFromElsewhere } from "../chat/follow-popover.tsx";
import { RunAnswer } from "../chat/answer.tsx";
import { SettingsDialog } from "../chat/settings-dialog.tsx";
import { transport } from "../state.ts";
import { useStickyScroll } from "../ui/hooks.ts";
import { Down, Mark, Share, Stop } from "../ui/icons.tsx";
import { Popover } from "../ui/popover.tsx";
import { useRun } from "../ui/use-run.ts";

export function RunPage({ run }: { readonly run: string }) {
  const snapshot = useRun(run)!;
  const scroll = useStickyScroll();
  const [stopping, setStopping] = useState(false);
  useEffect(() => {
    document.title = `${run} · Headrace`;
  }, [run]);
  const { state, error, live } = snapshot;
  return (
    <div className="shell single">
      <main className="main">
        <header className="topbar">
          <a className="brand" href={location.pathname}>
            <Mark />
            <span>Headrace</span>
          </a>
          <span className="badge" role="status" data-outcome={state.outcome ?? (live ? "live" : "failed")}>
            {state.outcome ?? (live ? "live" : "not followed")}
          </span>
          <span className="topbar-space" />
          <Popover label="Follow from elsewhere" button={<Share />}>
            {() => <FollowFromElsewhere run={run} />}
          </Popover>
        </header>
        <div className="scroller" ref={scroll.scroller}>
          <div className="thread" ref={scroll.content}>
            <div className="run-head">
              <h1>{state.kind === undefined ? "Run" : `${state.kind[0]!.toUpperCase()}${state.kind.slice(1)}`}</h1>
              <p className="muted">
                <code>{run}</code> · read only, the same words everywhere
              </p>
            </div>
            <RunAnswer
              snapshot={snapshot}
              live={live}
              since={state.started}
              model={state.model}
              problem={error}
              onReattach={snapshot.reattach}
            />
          </div>
        </div>
        {(live || !scroll.atEnd) && (
          <div className="dock slim">
            {!scroll.atEnd && (
              <button type="button" className="jump" onClick={() => scroll.toEnd(true)}>
                <Down size={15} /> Jump to latest
              </button>
            )}
            {live && state.seq > 0 && (
              <button
                type="button"
                className="button"
                disabled={stopping}
                onClick={() => {
                  setStopping(true);
                  transport.cancel(run).catch(() => setStopping(false));
                }}
              >
                <Stop size={16} /> {stopping ? "Stopping…" : "Stop this run"}
              </button>
            )}
          </div>
        )}
      </main>
      <SettingsDialog />
    </div>
  );
}
