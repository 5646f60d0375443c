"""Incremental JSON (RFC 8259): text in any cut, field events out, and the value so far at any moment.

`Parser.feed` takes the next piece and gives the events it causes; `Parser.value` is the value so far. That value
is live: the same dicts and lists from beginning to end, grown in place, so asking for it costs nothing however
long the answer is. It is never rebuilt and the text is not kept.

Which fields have events: the leaves. A leaf is a string, a number, true, false, null, or an *empty* object or
array, so the leaves alone are enough to build the document again. A string has `field-start`, then one
`field-delta` for each piece that brings text for it (decoded: no escape, no half of a surrogate pair), then
`field-end`. Other leaves have no deltas, and are told of when they are complete: `field-start` and `field-end`
together, for `12` may become `123`. Objects and arrays have no events of their own, because their ends would send
the document once more for every level; `containers=True` asks for them, with the finished value on the end.
`structure=True` asks for marks of what is decided between the leaves (`Opened`, `Closed`, `Key`, `Begun` of
`json_tokens`), for those who judge the document while it is written.

What grows: a string is in the value from its quote on and only gets longer; an object or an array is there from
its bracket on; a number or a word when it is complete; a key when its value is. A repeated key begins again: the
last one wins, as with `json.loads`.

`mode="strict"` is the RFC and nothing else. `mode="lenient"` is for what models really write; `docs/structured.md`
has the list. `json_tokens` knows what a token is; this module knows what may follow what. It is a generator
rather than a class of states, since a token of four characters leaves no time to load and store a dozen
attributes. For the same reason the
file is long, and reading a string and reading a key are written out twice: a call for each would cost more than they
do. No search for JSON in prose here. Next: `find`.

The module can be compiled (`compile_machine.py`, Cython): the same source as `_json`, whose `Parser` then stands
for the one here. `cython.…` is for that compiler; run as it is, `uncompiled` stands in for it. Where a pattern is
quick in Python and a loop is quick in C, both are written out, under `cython.compiled`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal, TypeAlias

from headrace import errors, events
from headrace.protocol import json_tokens as tokens
from headrace.protocol import uncompiled as cython
from headrace.protocol.json_tokens import Begun, Closed, Key, Opened, ends_high, pointer

Mode: TypeAlias = Literal["strict", "lenient"]

MAX_DEPTH = 512
MAX_KEY = 4096
MAX_NUMBER = 4300  # what Python itself turns into an int
MAX_CHARS = 16 * 1024 * 1024
_MEMO = 512  # keys whose pointers are kept ready
_NEAR = 30  # characters of the excerpt on each side of a fault

# What is read (up to `_REST`), or what may come next (from `_AFTER`).
_STRING = cython.declare(cython.int, 0)
_KEY = cython.declare(cython.int, 1)
_TOKEN = cython.declare(cython.int, 2)
_BARE_KEY = cython.declare(cython.int, 3)
_LINE_COMMENT = cython.declare(cython.int, 4)
_BLOCK_COMMENT = cython.declare(cython.int, 5)
_REST = cython.declare(cython.int, 6)
_AFTER = cython.declare(cython.int, 7)
_NEXT_KEY = cython.declare(cython.int, 8)
_FIRST_KEY = cython.declare(cython.int, 9)
_COLON = cython.declare(cython.int, 10)
_VALUE = cython.declare(cython.int, 11)
_FIRST_VALUE = cython.declare(cython.int, 12)
_DONE = cython.declare(cython.int, 13)

_NONE = cython.declare(cython.Py_UCS4, "\uffff")
"""No character: what ends a run of a string's body is a quote, a backslash or a control character."""

_EXPECTED = {
    _AFTER: "a comma or a closing bracket", _NEXT_KEY: "a key in double quotes",
    _FIRST_KEY: "a key in double quotes or '}'", _COLON: "a colon", _VALUE: "a value",
    _FIRST_VALUE: "a value or ']'", _DONE: "the end", _BARE_KEY: "a key",
}  # fmt: skip


class _Truncated(Exception):
    """Thrown into the machine: the text ends here."""


class _State:
    """What the machine shows of itself. Apart from `Parser`, so that the two make no reference cycle."""

    __slots__ = ("complete", "failure", "leaf", "rest", "stack", "truncated")

    def __init__(self, root: str) -> None:
        self.complete = False
        self.truncated = False
        self.rest = ""
        self.leaf: str | None = None  # path of the string that is open
        self.failure: errors.RunError | None = None
        # What is open, outermost first: the container, its path, whether it is an object. The first is a list
        # that holds the whole value.
        self.stack: list[tuple[Any, str, bool]] = [([], root, False)]


class Parser:
    """The machine for one JSON document: an answer, or the arguments of a tool call.

    Args:
        mode: `strict` refuses whatever RFC 8259 does not allow; `lenient` takes what models write.
        root: the JSON Pointer of the document itself, put before every path (for a document inside a field).
        containers: whether objects and arrays have events too.
        structure: whether marks (`Opened`, `Closed`, `Key`, `Begun`) stand between the events.
        trailing: what to do with text after the document: `refuse` it, or `keep` it in `rest`.
        max_depth: bound on open objects and arrays.
        max_key: bound on one key, in characters.
        max_number: bound on one number, in characters.
        max_chars: bound on the whole text, in characters.
    """

    __slots__ = ("_root", "_send", "_state", "_throw")

    def __init__(
        self,
        *,
        mode: Mode = "strict",
        root: str = "",
        containers: bool = False,
        structure: bool = False,
        trailing: Literal["refuse", "keep"] = "refuse",
        max_depth: int = MAX_DEPTH,
        max_key: int = MAX_KEY,
        max_number: int = MAX_NUMBER,
        max_chars: int = MAX_CHARS,
    ) -> None:
        grammar = tokens.LENIENT if mode == "lenient" else tokens.STRICT
        limits = (max_depth, max_key, max_number, max_chars)
        self._state = _State(root)
        self._root: list[Any] = self._state.stack[0][0]
        machine = _machine(self._state, grammar, containers, structure, trailing == "keep", limits)
        next(machine)
        self._send = machine.send
        self._throw = machine.throw

    def feed(self, text: str) -> list[events.Event]:
        """Take the next piece of the text; return the events it causes, in order.

        Raises:
            errors.RunError: `output-rejected`: the text is not JSON in this mode, or passes a bound. Its details
                have `position` (characters from 0), `path`, `excerpt` (two lines, the second has a caret) and
                `truncated`. Where the same piece has events before the fault, those are returned and the next
                call raises.
        """
        if not text:
            return []
        try:
            return self._send(text)
        except StopIteration:
            raise _again(self._state) from None

    def close(self) -> list[events.Event]:
        """The text ends here; return the last events.

        In lenient mode a document that is cut off is closed as it stands: an open string keeps what it has, and
        a number, word or key that may have gone on is dropped. `truncated` is then true.

        Raises:
            errors.RunError: as `feed`; also, in strict mode, when the document is not complete (`truncated` in
                the details is true), and in both when there is none.
        """
        state = self._state
        if state.failure is not None:
            raise state.failure
        if state.complete:
            return []
        try:
            return self._throw(_Truncated())
        except StopIteration:
            raise _again(state) from None

    @property
    def value(self) -> Any:
        """The value so far, None when nothing has come. Live: it grows in place; copy it to keep a moment of it."""
        return self._root[0] if self._root else None

    @property
    def started(self) -> bool:
        """Whether the value has begun."""
        return bool(self._root)

    @property
    def complete(self) -> bool:
        """Whether the document is whole. A number or a word that is all of it is whole only at `close`."""
        return self._state.complete

    @property
    def truncated(self) -> bool:
        """Whether `close` had to close something that was open."""
        return self._state.truncated

    @property
    def rest(self) -> str:
        """With `trailing="keep"`: what came after the document, so far."""
        return self._state.rest

    def at(self, path: str, default: Any = None) -> Any:
        """The value so far at a JSON Pointer (as in the events, `root` included), `default` where there is none."""
        found = self._find(path)
        return found[0] if found else default

    def is_complete(self, path: str) -> bool:
        """Whether the value at this JSON Pointer is there and cannot change any more (but for a repeated key)."""
        state = self._state
        if path == state.leaf or any(path == opened for _, opened, _ in state.stack[1:]):
            return False
        return bool(self._find(path))

    def _find(self, path: str) -> list[Any]:
        root, prefix, _ = self._state.stack[0]
        if not root or not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in ("", "/"):
            return []
        value = root[0]
        for step in tokens.steps(path[len(prefix) :]):
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return []
        return [value]


def _again(state: _State) -> errors.RunError:
    if state.failure is not None:
        return state.failure
    return errors.RunError("the JSON parser was closed; nothing can be fed to it", code="output-rejected")


@cython.cfunc
@cython.inline
@cython.returns(cython.Py_ssize_t)
@cython.exceptval(check=False)
@cython.locals(text=str, i=cython.Py_ssize_t, n=cython.Py_ssize_t, quote=cython.Py_UCS4, c=cython.Py_UCS4)
def _plain(text: str, i: int, n: int, quote: str) -> int:
    """Where the characters that stand for themselves end: at a quote, a backslash, a control character."""
    while i < n:
        c = text[i]
        if c == quote or c == "\\" or c < " ":
            break
        i += 1
    return i


@cython.locals(
    text=str, string=str, raw=str, path=str, prefix=str, before=str, held=str, starts=str,
    c=cython.Py_UCS4, quote=cython.Py_UCS4, closer=cython.Py_UCS4,
    i=cython.Py_ssize_t, n=cython.Py_ssize_t, j=cython.Py_ssize_t, stop=cython.Py_ssize_t,
    base=cython.Py_ssize_t, index=cython.Py_ssize_t, opened_at=cython.Py_ssize_t,
    max_depth=cython.Py_ssize_t, max_key=cython.Py_ssize_t, max_number=cython.Py_ssize_t,
    max_chars=cython.Py_ssize_t,
    state=cython.int, resume=cython.int, done=cython.int, in_object=cython.bint, lenient=cython.bint,
    out=list, stack=list, memo=dict,
)  # fmt: skip
def _machine(
    state_of: _State,
    grammar: tokens.Grammar,
    containers: bool,
    structure: bool,
    keep: bool,
    limits: tuple[int, int, int, int],
) -> Generator[list[events.Event], str, None]:
    """The machine: sent the pieces, yields the events of each. What the names mean:

    `text`, `i`, `n`: the piece, where it is read, its length; `base`: where the piece begins in the whole text;
    `holder`, `prefix`, `in_object`: the innermost open container, its path, its kind; `key`, `path`: where the
    value that is read goes; `string`, `index`: the string that is read, and how many deltas it has had.
    """
    start, delta, end = events.FieldStart, events.FieldDelta, events.FieldEnd
    max_depth, max_key, max_number, max_chars = limits
    lenient, bodies, decode = grammar.lenient, grammar.body, grammar.decode
    cut_escape, skip, starts, words = (
        grammar.cut_escape.match,
        grammar.space.match,
        grammar.starts,
        grammar.words,
    )
    body = bodies['"'].match
    token_run, bare_key_run = tokens.TOKEN.match, tokens.BARE_KEY.match
    memo: dict[str, tuple[str, str]] = {}
    stack = state_of.stack
    holder, prefix, in_object = stack[-1]
    key: Any = 0
    quote, string, path, held, before = '"', "", prefix, "", ""
    state, resume, base, index, opened_at = _VALUE, _VALUE, 0, 0, 0
    closer, done = _NONE, _REST if keep else _DONE
    value: Any = None
    out: list[Any] = []
    text, i, n = "", 0, 0
    try:
        while True:
            if state >= _AFTER:
                if i == n:
                    base += n
                    if base > max_chars:
                        raise _fault(
                            f"more than {max_chars} characters (max_chars)", path, base, before, text, n
                        )
                    before = text
                    text = yield out
                    out, i, n = [], 0, len(text)
                    continue

                c = text[i]
                if c == " " or c == "\n" or c == "\r" or c == "\t":
                    i += 1
                    if cython.compiled:
                        while i < n and text[i] == " ":
                            i += 1
                    elif i < n and text[i] == " ":
                        i = skip(text, i).end()  # type: ignore[union-attr]

                elif c == "," and state == _AFTER:
                    i += 1
                    state = _NEXT_KEY if in_object else _VALUE

                elif c == '"' and _NEXT_KEY <= state <= _FIRST_KEY:
                    string, quote, opened_at = "", c, base + i
                    body = bodies[c].match
                    i += 1
                    state = _KEY

                elif c == ":" and state == _COLON:
                    i += 1
                    state = _VALUE

                elif (c == '"' or (c == "'" and lenient)) and _VALUE <= state <= _FIRST_VALUE:
                    if in_object:
                        holder[key] = ""
                    else:
                        key = len(holder)
                        if len(stack) > 1:
                            path = f"{prefix}/{key}"
                        holder.append("")
                    out.append(start(path))
                    state_of.leaf = path
                    string, quote, index = "", c, 0
                    body = bodies[c].match
                    i += 1
                    state = _STRING

                elif c == closer and (
                    state == _AFTER
                    or state == (_FIRST_KEY if in_object else _FIRST_VALUE)
                    or (lenient and state == (_NEXT_KEY if in_object else _VALUE))
                ):
                    i += 1
                    value, path, _ = stack.pop()
                    if containers:
                        out.append(end(path, value))
                    elif not value:
                        out += (start(path), end(path, value))
                    if structure:
                        out.append(Closed(path, value))
                    holder, prefix, in_object = stack[-1]
                    closer = "}" if in_object else "]"
                    state = _AFTER
                    if len(stack) == 1:
                        closer, state, state_of.complete = _NONE, done, True

                elif (c == "{" or c == "[") and _VALUE <= state <= _FIRST_VALUE:
                    if len(stack) > max_depth:
                        raise _fault(
                            f"more than {max_depth} levels (max_depth)", prefix, base + i, before, text, i
                        )
                    value = {} if c == "{" else []
                    if in_object:
                        holder[key] = value
                    else:
                        if len(stack) > 1:
                            path = f"{prefix}/{len(holder)}"
                        holder.append(value)
                    if containers:
                        out.append(start(path))
                    if structure:
                        out.append(Opened(path, value))
                    holder, prefix, in_object = value, path, c == "{"
                    closer = "}" if in_object else "]"
                    stack.append((holder, prefix, in_object))
                    i += 1
                    state = _FIRST_KEY if in_object else _FIRST_VALUE

                elif c in starts and _VALUE <= state <= _FIRST_VALUE:
                    if not in_object and len(stack) > 1:
                        path = f"{prefix}/{len(holder)}"
                    state_of.leaf = path
                    string, opened_at = "", base + i
                    if structure:
                        out.append(Begun(path, c))
                    state = _TOKEN

                elif not lenient:
                    raise _unexpected(c, state, path if state == _COLON else prefix, base, before, text, i)

                elif c.isspace() or c == "\ufeff":
                    i = skip(text, i).end()  # type: ignore[union-attr]

                elif c == "#" or text.startswith("//", i):
                    resume, state = state, _LINE_COMMENT

                elif text.startswith("/*", i):
                    i += 2
                    resume, state = state, _BLOCK_COMMENT

                elif c == "/" and i + 1 == n:
                    base += i
                    before = text
                    text = c + (yield out)
                    out, i, n = [], 0, len(text)

                elif c == "," and state == (_NEXT_KEY if in_object else _VALUE) and len(stack) > 1:
                    i += 1  # a comma too many

                elif c == "'" and _NEXT_KEY <= state <= _FIRST_KEY:
                    string, quote, opened_at = "", c, base + i
                    body = bodies[c].match
                    i += 1
                    state = _KEY

                elif c not in ":,{}[]/" and _NEXT_KEY <= state <= _FIRST_KEY:
                    string, opened_at = "", base + i
                    state = _BARE_KEY

                elif c not in ":,}]/" and state == _AFTER:
                    state = _NEXT_KEY if in_object else _VALUE  # a comma too few

                else:
                    raise _unexpected(c, state, path if state == _COLON else prefix, base, before, text, i)

            elif state == _STRING:
                if i == n:
                    base += n
                    before = text
                    text = yield out
                    # Most of an answer passes here. `string` is the only reference to the text while it is
                    # appended to, so that CPython grows it in place; in the value it is put back at once.
                    while True:
                        if cython.compiled:
                            n = len(text)
                            if _plain(text, 0, n, quote) != n:
                                break
                        elif not text.isprintable() or quote in text or "\\" in text:
                            break
                        holder[key] = None
                        string += text
                        holder[key] = string
                        base += len(text)
                        before = text
                        text = yield [delta(path, text, index)]
                        index += 1
                        if base > max_chars:
                            break
                    out, i, n = [], 0, len(text)
                    if base + n > max_chars:
                        raise _fault(
                            f"more than {max_chars} characters (max_chars)", path, base, before, text, 0
                        )
                if cython.compiled:
                    j = _plain(text, i, n, quote)
                    if j < n and text[j] != quote:
                        j = body(text, j).end()  # type: ignore[union-attr]
                else:
                    j = body(text, i).end()  # type: ignore[union-attr]
                stop = j
                if j > i:
                    raw = text[i:j]
                    if "\\" in raw:
                        if ends_high(raw) and (j == n or cut_escape(text, j)):
                            raw, stop = raw[:-6], j - 6
                        raw = decode(raw)
                    if raw:
                        holder[key] = None
                        string += raw
                        holder[key] = string
                        out.append(delta(path, raw, index))
                        index += 1
                if stop == n:
                    i = n
                    continue
                c = text[j] if stop == j else _NONE
                if c == quote:
                    i = j + 1
                    state_of.leaf = None
                    out.append(end(path, string))
                    state = _AFTER
                    if len(stack) == 1:
                        state, state_of.complete = done, True
                    continue
                if c != _NONE and (c != "\\" or not cut_escape(text, j)):
                    raise _bad_string(path, base, before, text, j)
                base += stop
                before, held = text[:stop], text[stop:]
                text = held + (yield out)
                held, out, i, n = "", [], 0, len(text)

            elif state == _KEY:
                if i == n:
                    base += n
                    before = text
                    text = yield out
                    out, i, n = [], 0, len(text)
                if cython.compiled:
                    j = _plain(text, i, n, quote)
                    if j < n and text[j] != quote:
                        j = body(text, j).end()  # type: ignore[union-attr]
                else:
                    j = body(text, i).end()  # type: ignore[union-attr]
                stop = j
                if j > i:
                    raw = text[i:j]
                    if "\\" in raw:
                        if ends_high(raw) and (j == n or cut_escape(text, j)):
                            raw, stop = raw[:-6], j - 6
                        raw = decode(raw)
                    string += raw
                    if len(string) > max_key:
                        what = f"a key of more than {max_key} characters (max_key)"
                        raise _fault(what, prefix, opened_at, before, text, i)
                if stop == n:
                    i = n
                    continue
                c = text[j] if stop == j else _NONE
                if c == quote:
                    i = j + 1
                    state = _COLON
                    entry = memo.get(string)
                    if entry is None:
                        if len(memo) >= _MEMO:
                            memo.clear()
                        entry = memo[string] = (string, pointer(string))
                    key, path = entry
                    path = prefix + path
                    if structure:
                        out.append(Key(path, key))
                    continue
                if c != _NONE and (c != "\\" or not cut_escape(text, j)):
                    raise _bad_string(prefix, base, before, text, j)
                base += stop
                before, held = text[:stop], text[stop:]
                text = held + (yield out)
                held, out, i, n = "", [], 0, len(text)

            elif i == n:
                base += n
                if base > max_chars:
                    raise _fault(f"more than {max_chars} characters (max_chars)", path, base, before, text, n)
                before = text
                text = yield out
                out, i, n = [], 0, len(text)

            elif state == _TOKEN:
                if cython.compiled:
                    j = i
                    while j < n:
                        c = text[j]
                        if not ("0" <= c <= "9" or "a" <= c <= "z" or "A" <= c <= "Z" or c in "-+._"):
                            break
                        j += 1
                else:
                    j = token_run(text, i).end()  # type: ignore[union-attr]
                string += text[i:j]
                i = j
                if len(string) > max_number:
                    what = f"a number of more than {max_number} characters (max_number)"
                    raise _fault(what, path, opened_at, before, text, i)
                if i < n:
                    if string.isdecimal() and len(string) < 19 and (string[0] != "0" or string == "0"):
                        value = int(string)
                    elif string in words:
                        value = words[string]
                    else:
                        value = _number(grammar, string)
                        if value is None:
                            raise _fault(f"{_shown(string)} is not a value", path, opened_at, before, text, i)
                    if in_object:
                        holder[key] = value
                    else:
                        holder.append(value)
                    out += (start(path), end(path, value))
                    state_of.leaf = None
                    state = _AFTER
                    if len(stack) == 1:
                        state, state_of.complete = done, True
                elif not lenient and string[0] > "9" and not _begins(string, words):
                    raise _fault(f"{_shown(string)} is not a value", path, opened_at, before, text, i)

            elif state == _BARE_KEY:
                j = bare_key_run(text, i).end()  # type: ignore[union-attr]
                string += text[i:j]
                i = j
                if len(string) > max_key:
                    what = f"a key of more than {max_key} characters (max_key)"
                    raise _fault(what, prefix, opened_at, before, text, i)
                if i < n:
                    key, path, state = string, prefix + tokens.pointer(string), _COLON
                    if structure:
                        out.append(Key(path, key))
            elif state == _LINE_COMMENT:
                i = text.find("\n", i)
                i, state = (n, state) if i < 0 else (i, resume)
            elif state == _BLOCK_COMMENT:
                j = text.find("*/", i)
                if j >= 0:
                    i, state = j + 2, resume
                elif text[-1] == "*" and i < n - 1:
                    base += n - 1
                    before = text
                    text = "*" + (yield out)
                    out, i, n = [], 0, len(text)
                elif text[i:] == "*":
                    base += i
                    text = "*" + (yield out)
                    out, i, n = [], 0, len(text)
                else:
                    i = n

            else:
                state_of.rest += text[i:]
                i = n

    except errors.RunError as error:
        state_of.failure = error
        if out:
            yield out
        raise

    except _Truncated:
        out = []
        if state == _TOKEN and (len(stack) == 1 or (lenient and string in words)):
            value = words[string] if string in words else _number(grammar, string)
            if value is not None or string in words:
                if in_object:
                    holder[key] = value
                else:
                    holder.append(value)
                out += (start(path), end(path, value))
                state_of.complete = len(stack) == 1
        if state_of.complete:
            pass
        elif not lenient or not stack[0][0]:
            if state == _VALUE and len(stack) == 1:
                what = "there is no JSON, the text is empty"
            else:
                what = "the text ends before the JSON does"
            where = path if state in (_STRING, _TOKEN, _COLON) else prefix
            at = base + len(held)
            raise _fault(what, where, at, before, held, len(held), truncated=True) from None
        else:
            if state == _STRING:
                if len(held) >= 6:  # the first half of a surrogate pair, and no second one came
                    string += decode(held[:6])
                    holder[key] = string
                    out.append(delta(path, string[-1], index))
                out.append(end(path, string))
            while len(stack) > 1:
                value, path, _ = stack.pop()
                if containers:
                    out.append(end(path, value))
                elif not value:
                    out += (start(path), end(path, value))
                if structure:
                    out.append(Closed(path, value))
            state_of.truncated = state_of.complete = True
        state_of.leaf = None
        yield out


def _number(grammar: tokens.Grammar, text: str) -> float | int | None:
    try:
        return grammar.number(text)
    except ValueError:  # more digits than Python is set to turn into an int
        return None


def _begins(text: str, words: Mapping[str, Any]) -> bool:
    # Not inside the machine: a name that an inner function sees too is slow, and is never grown in place.
    return any(word.startswith(text) for word in words)


def _unexpected(c: str, state: int, path: str, base: int, before: str, text: str, i: int) -> errors.RunError:
    return _fault(f"expected {_EXPECTED[state]}, found {_shown(c)}", path, base + i, before, text, i)


def _bad_string(path: str, base: int, before: str, text: str, i: int) -> errors.RunError:
    c = text[i]
    what = (
        f"the escape {_shown(text[i : i + 6])} is none"
        if c == "\\"
        else f"{_shown(c)} in a string, unescaped"
    )
    return _fault(what, path, base + i, before, text, i)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _NEAR else text[:_NEAR] + "…")


def _fault(
    what: str, path: str, position: int, before: str, text: str, i: int, *, truncated: bool = False
) -> errors.RunError:
    """The error, with what stands around character `i` of the piece."""
    left = (before + text[:i])[-_NEAR:] if i < _NEAR else text[i - _NEAR : i]
    line = "".join(c if c.isprintable() else " " for c in left + text[i : i + _NEAR])
    where = f"at character {position}" + (f", in {path}" if path else "")
    return errors.RunError(
        f"not JSON {where}: {what} (after {_shown(left)})" if left else f"not JSON {where}: {what}",
        code="output-rejected",
        details={
            "position": position,
            "path": path,
            "excerpt": f"{line}\n{' ' * len(left)}^",
            "truncated": truncated,
        },
    )


PARSERS: dict[str, type[Parser]] = {"python": Parser}
"""The machines there are: the one of this file, and the same compiled, where it is."""

if not cython.compiled:
    try:
        from headrace.protocol import _json  # type: ignore[attr-defined]
    except ImportError:
        pass
    else:
        Parser = PARSERS["compiled"] = _json.Parser  # type: ignore[misc]
