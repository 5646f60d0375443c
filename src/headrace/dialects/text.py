"""`text`: the plain EventSource form, readable with five lines of JavaScript.

    data: {"type":"text","content":"…"}     more text
    data: {"type":"reset"}                  drop what is shown; what stands is sent again
    data: {"type":"error","code":"…","message":"…"}
    data: {"type":"done"}                   always last; has "outcome" when it is not `completed`

Every frame has the cursor as its `id:`, so the browser's own reconnect goes on in the same run; of two frames
of one event only the last has it, so that neither is lost. `run-start` is a block of an id alone, which the
browser takes note of and does not show: from then on a reconnect cannot start a second run. Next: `token`.
"""

from __future__ import annotations

from headrace import events
from headrace.dialects import base
from headrace.dialects.standing import Standing
from headrace.protocol import sse


class TextEncoder(base.Base):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._id = b"id: %b." % info.run.encode()
        self._standing = Standing()

    def start(self) -> bytes:
        """The reconnection time."""
        return sse.retry(base.RECONNECT_MS)

    def encode(self, event: events.Event) -> bytes:
        """Text, resets, the ending."""
        match event:
            case events.TextDelta():
                self._standing.add(event)
                return b'%b%d\ndata: {"type":"text","content":%b}\n\n' % (
                    self._id,
                    event.seq,
                    base.to_json(event.delta),
                )
            case events.RunStart():
                self._standing.begin()
                return b"%b%d\n\n" % (self._id, event.seq)
            case events.OutputReset(blocks=blocks):
                return self._reset(blocks, event.seq)
            case events.RunEnd(outcome=outcome):
                done = {"type": "done"} if outcome == "completed" else {"type": "done", "outcome": outcome}
                end = b"%b%d\n%b" % (self._id, event.seq, base.data(done))
                return end if event.error is None else _error(event.error) + end
        return b""

    def _reset(self, blocks: list[str], seq: int) -> bytes:
        text = self._standing.reset(blocks)
        if text is None:
            return b""
        reset = b'data: {"type":"reset"}\n\n'
        if not text:
            return b"%b%d\n%b" % (self._id, seq, reset)
        return b"%b%b%d\n%b" % (reset, self._id, seq, base.data({"type": "text", "content": text}))

    def fail(self, error: events.ErrorInfo) -> bytes:
        """The error and `done`."""
        return _error(error) + base.data({"type": "done", "outcome": "failed"})


def _error(error: events.ErrorInfo) -> bytes:
    return base.data({"type": "error", "code": error.code, "message": error.message})


TEXT = base.Dialect(name="text", encoder=TextEncoder, resumable=True)
