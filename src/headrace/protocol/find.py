"""The JSON in an answer that has more than JSON: prose around it, a Markdown code fence, reasoning before it.

`Finder.feed` gives, in order, field events (of the document found) and strings (the prose that is not of it). The
first document counts; what comes after it is prose. A fence around the document belongs to neither. JSON inside
`<think>` and the like is reasoning, and passes as prose.

A bracket in prose is not yet JSON: `{name}`, `[1]` and `[text](url)` are prose. So a bracket is tried: the machine of
`json` reads from there, and it is a document once it has a leaf, and is not an array that begins with a number or a
word. Where JSON is what comes next anyway (at the very beginning of an answer, or of a fence) an empty document or
such an array is one too. What is held back meanwhile is bounded, and is prose where it turns out not to be JSON. Once
taken, a document that is not JSON is an error, not prose. Next: `markers`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from headrace import errors, events
from headrace.protocol import json as machine

Found: TypeAlias = events.Event | str

MAX_HELD = 2048  # characters held back while it is open whether a bracket begins a document
_SIGN = re.compile(r"[{\[]|```|<(think|thinking|reasoning|reflection|scratchpad)>", re.IGNORECASE)
_CUT_SIGN = re.compile(r"(?:`{1,2}|<[A-Za-z]{0,10})\Z")
_FENCE = re.compile(r"```[^\n`]{0,80}(\n\s*)?")
_FENCE_END = re.compile(r"\s*```")
_CUT_FENCE_END = re.compile(r"\s*`{0,2}\Z")


class Finder:
    """Finds the first JSON document of an answer and passes the rest through.

    Args:
        mode: how the document is read; default lenient, for where JSON stands in prose nobody guarantees it.
        expect: `object` or `array` when only that can be the document; a bracket of the other kind is prose.
        parser: further arguments of `json.Parser` (`root`, `containers`, bounds).

    Attributes:
        parser: the machine that reads the document: `value`, `complete`, `at` and so on.
        found: whether a document has begun.
    """

    def __init__(
        self,
        *,
        mode: machine.Mode = "lenient",
        expect: Literal["object", "array", "any"] = "any",
        **parser: Any,
    ) -> None:
        self._arguments = {"mode": mode, "trailing": "keep", **parser}
        self._brackets = {"object": "{", "array": "[", "any": "{["}[expect]
        self.parser = machine.Parser(**self._arguments)
        self.found = False
        self._held = ""  # what is not decided yet
        self._tried: int | None = None  # how much of `_held` the machine has read, when a bracket is tried
        self._until = ""  # what ends the reasoning or the code that is passed through
        self._fence = ""  # the beginning of the fence that `_held` is in, with its white space
        self._awaited = True  # JSON is what comes next anyway
        self._ended = False
        self._marks: list[Any] = []  # of the bracket that is tried, until it is a document

    def feed(self, text: str) -> list[Found]:
        """Take the next piece; return prose and field events in the order they came.

        Raises:
            errors.RunError: as `json.Parser.feed`, once a document has begun.
        """
        if self.found and not self._ended:
            out: list[Found] = [*self.parser.feed(text)]
            self._after(out)
            return out
        self._held += text
        out = []
        self._look(out, final=False)
        return out

    def close(self) -> list[Found]:
        """The answer ends here; return what is left.

        Raises:
            errors.RunError: `output-rejected`: no document was found (what was held back is in the details,
                under `prose`), or as `json.Parser.close`.
        """
        out: list[Found] = []
        if not self.found:
            self._look(out, final=True)
        if not self.found:
            prose = "".join(piece for piece in out if isinstance(piece, str))
            raise errors.RunError(
                "there is no JSON in the answer", code="output-rejected", details={"prose": prose}
            )
        if not self._ended:
            out += self.parser.close()
        elif self._held:
            self._prose(out, len(self._held))
        return out

    def _look(self, out: list[Found], *, final: bool) -> None:
        """Decide as much of `_held` as can be."""
        while self._held:
            if self._ended:
                if self._fence and not self._leave_fence(final):
                    return
                self._prose(out, len(self._held))
            elif self._tried is not None:
                if not self._try(out, final):
                    return
                if self.found and not self._ended:
                    return
            elif self._until:
                if not self._pass(out, final):
                    return
            elif not self._search(out, final):
                return

    def _search(self, out: list[Found], final: bool) -> bool:
        """Pass prose up to the next sign; False when more must come."""
        sign = _SIGN.search(self._held)
        if sign is None:
            cut = None if final else _CUT_SIGN.search(self._held)
            self._prose(out, cut.start() if cut else len(self._held))
            return False
        if sign.start():
            self._prose(out, sign.start())
            return True
        if sign[1]:
            self._until = f"</{sign[1].lower()}>"
            self._prose(out, sign.end(), reasoning=True)
        elif sign[0] == "```":
            return self._enter_fence(out, final)
        elif sign[0] in self._brackets:
            self.parser, self._tried = machine.Parser(**self._arguments), 0
        else:
            self._prose(out, 1)
        return True

    def _enter_fence(self, out: list[Found], final: bool) -> bool:
        fence = _FENCE.match(self._held)
        assert fence is not None
        at = fence.end()
        if at == len(self._held) and not final and at <= MAX_HELD:
            return False
        if fence[1] and self._held[at : at + 1] in tuple(self._brackets):
            self._fence, self._held, self._awaited = fence[0], self._held[at:], True
            self.parser, self._tried = machine.Parser(**self._arguments), 0
        else:
            if fence[1]:
                self._until = "```"
            self._prose(out, at if fence[1] else 3)  # without a line end: three backquotes in a line of prose
        return True

    def _leave_fence(self, final: bool) -> bool:
        end = _FENCE_END.match(self._held)
        if end is not None:
            self._held = self._held[end.end() :]
        elif not final and len(self._held) <= MAX_HELD and _CUT_FENCE_END.match(self._held):
            return False
        self._fence = ""
        return True

    def _pass(self, out: list[Found], final: bool) -> bool:
        """Pass what is reasoning or code, up to its end; False when more must come."""
        at = self._held.lower().find(self._until)
        if at >= 0:
            end = at + len(self._until)
            reasoning, self._until = self._until != "```", ""
            self._prose(out, end, reasoning=reasoning)
            return True
        keep = 0
        if not final:
            lower = self._held.lower()
            sizes = range(min(len(self._until) - 1, len(lower)), 0, -1)
            keep = next((size for size in sizes if lower.endswith(self._until[:size])), 0)
        self._prose(out, len(self._held) - keep, reasoning=self._until != "```")
        return False

    def _try(self, out: list[Found], final: bool) -> bool:
        """Let the machine read from the bracket at the beginning of `_held`; False when more must come."""
        assert self._tried is not None
        piece, self._tried = self._held[self._tried :], len(self._held)
        parser = self.parser
        try:
            marks = parser.feed(piece)
            got = [item for item in marks if isinstance(item, events.Event)]
            if not got and final and self._awaited:
                got = parser.close()
                marks = [*marks, *got]
            self._marks += marks
        except errors.RunError:
            got, refused = [], True
        else:
            refused = bool(got) and not self._awaited and _doubtful(parser.value)
            refused = refused or (not got and (final or len(self._held) > MAX_HELD))
        if refused:
            self._refuse(out)
            return True
        if not got:
            return False
        self.found, self._held, self._tried = True, "", None
        out += self._marks
        self._marks = []
        self._after(out)
        return True

    def _refuse(self, out: list[Found]) -> None:
        self._tried, self._marks = None, []
        if self._fence:
            self._held, self._until, self._fence = self._fence + self._held, "```", ""
            self._prose(out, 3)
        else:
            self._prose(out, 1)

    def _after(self, out: list[Found]) -> None:
        if self.parser.complete:
            self._ended, self._held = True, self.parser.rest
            self._look(out, final=False)

    def _prose(self, out: list[Found], size: int, *, reasoning: bool = False) -> None:
        """Give out the first `size` characters of `_held`."""
        piece, self._held = self._held[:size], self._held[size:]
        if piece:
            out.append(piece)
            if not reasoning and not piece.isspace():
                self._awaited = False


def _doubtful(value: Any) -> bool:
    """Whether a document in the middle of prose may well be none: `{}`, `[1]`."""
    return not value or (isinstance(value, list) and not isinstance(value[0], (str, dict, list)))
