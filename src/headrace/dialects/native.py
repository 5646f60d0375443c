"""`native`: every event as it is, its `id:` the cursor.

The server sends the run log's own shared bytes instead of calling this; it is here so that the native wire is
a dialect like any other, and for readers that hold events without a log. Next: `text`.
"""

from __future__ import annotations

from headrace import events
from headrace.dialects import base
from headrace.protocol import sse


class NativeEncoder(base.Base):
    """See `base.Encoder`."""

    def start(self) -> bytes:
        """The reconnection time."""
        return sse.retry(base.RECONNECT_MS)

    def encode(self, event: events.Event) -> bytes:
        """The event's JSON under its cursor."""
        return b"id: %b.%d\ndata: %b\n\n" % (event.run.encode(), event.seq, events.encode(event))

    def skip(self, event: events.Event) -> None:
        """Nothing to remember."""


NATIVE = base.Dialect(name="native", encoder=NativeEncoder, resumable=True, folds=False)
