"""`token`: one small object a token, for clients that read lines.

    data: {"token":"…"}
    data: {"reset":true}                                drop what is shown; what stands is sent again
    data: {"error":{"code":"…","message":"…"}}
    data: [DONE]                                        always last

No cursors: such clients do not come back. Next: `openai_chat`.
"""

from __future__ import annotations

from headrace import events
from headrace.dialects import base
from headrace.dialects.standing import Standing


class TokenEncoder(base.Base):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._standing = Standing()

    def encode(self, event: events.Event) -> bytes:
        """Text, resets, failures."""
        match event:
            case events.TextDelta():
                self._standing.add(event)
                return b'data: {"token":%b}\n\n' % base.to_json(event.delta)
            case events.RunStart():
                self._standing.begin()
            case events.OutputReset(blocks=blocks):
                text = self._standing.reset(blocks)
                if text is not None:
                    return b'data: {"reset":true}\n\n' + (base.data({"token": text}) if text else b"")
            case events.RunEnd(error=events.ErrorInfo() as error):
                return self.fail(error)
        return b""

    def fail(self, error: events.ErrorInfo) -> bytes:
        """The error; `[DONE]` comes with `end`."""
        return base.data({"error": {"code": error.code, "message": error.message}})

    def end(self) -> bytes:
        """The end marker."""
        return b"data: [DONE]\n\n"


TOKEN = base.Dialect(name="token", encoder=TokenEncoder)
