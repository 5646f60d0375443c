"""The second pass: pieces into a `syntax.Document`. All faults of a template are raised together.

`parse` is pure but for the files it includes, which it reads through the function it is given. Slots are read by
`grammar.lark`, expressions by Jinja. Which slot types and options there are is not known here: that is checked by
`plan`, with `types`. Next: `types`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import lark

from headrace.templates import expressions, faults, syntax
from headrace.templates.expressions import Expression
from headrace.templates.faults import Fault, Place
from headrace.templates.scanner import Piece, Read, Scanner, Source

TEXT = "text"
_BLOCKS = ("system", "header", "user", "assistant", "together")
MAX_NESTED = 100
_SLOT_HELP = "write [[name]], [[type:name]] or [[type:name|option,key=value]]"


def parse(text: str, *, file: str = "<template>", read: Read | None = None) -> syntax.Document:
    """Parse a template.

    Args:
        file: the name for messages, and the path that includes are searched from.
        read: finds and reads included files; default: none can be included.

    Raises:
        faults.TemplateError: with everything that is wrong.
    """
    document, found = attempt(text, file=file, read=read)
    if found:
        raise faults.TemplateError(found)
    return document


def attempt(
    text: str, *, file: str = "<template>", read: Read | None = None
) -> tuple[syntax.Document, list[Fault]]:
    """As `parse`, with what is wrong beside what could be read all the same."""
    scanner = Scanner(read or no_files)
    source = Source(file, text)
    pieces = scanner.scan(source)
    parser = _Parser(pieces, source.place(len(source.text)))
    try:
        segments = parser.document()
    except _TooDeep:
        segments = []
    document = syntax.Document(
        file=file, segments=tuple(segments), flat="".join(scanner.flat), files=tuple(scanner.files)
    )
    return document, [*scanner.faults, *parser.faults]


def reader(paths: Sequence[Path] = ()) -> Read:
    """Reads included files: beside the file that includes them, then in `paths`."""

    def read(file: str, name: str) -> tuple[str, str]:
        for folder in (Path(file).parent, *paths):
            path = folder / name
            if path.is_file():
                return str(path.resolve()), path.read_text("utf-8")
        raise FileNotFoundError(2, "there is no such file beside the template or in the include paths")

    return read


def no_files(file: str, name: str) -> tuple[str, str]:
    """Reads nothing: for a template from elsewhere."""
    raise PermissionError(13, "a template from here cannot include files")


@cache
def _grammar() -> lark.Lark:
    text = resources.files("headrace.templates").joinpath("grammar.lark").read_text("utf-8")
    return lark.Lark(text, parser="lalr", maybe_placeholders=False)


class _TooDeep(Exception):
    """Tags are nested deeper than can be followed; the fault is noted."""


class _Parser:
    """A recursive descent over the pieces."""

    def __init__(self, pieces: Sequence[Piece], end: Place) -> None:
        self.faults: list[Fault] = []
        self._pieces = pieces
        self._end = end
        self._at = 0
        self._keys: dict[str, Place] = {}
        self._taken: set[str] = set()
        self._inside: list[str] = []

    def document(self) -> list[syntax.Segment]:
        segments: list[syntax.Segment] = []
        for piece in self._pieces:  # names that are written out come first, so that made-up ones avoid them
            if piece.kind == "slot":
                self._taken.update(_written_name(piece.text))
        while True:
            nodes = self._nodes(())
            over = self._next()
            if over is None:
                break
            if over.kind == "checkpoint":
                segments.append(syntax.Segment(index=len(segments), name=over.text, nodes=tuple(nodes)))
                continue
            self._stray(over)
            segments.append(syntax.Segment(index=len(segments), name="", nodes=tuple(nodes)))
        if nodes or not segments:
            segments.append(syntax.Segment(index=len(segments), name="", nodes=tuple(nodes)))
        return segments

    def _next(self) -> Piece | None:
        if self._at >= len(self._pieces):
            return None
        self._at += 1
        return self._pieces[self._at - 1]

    def _fault(self, place: Place, message: str) -> None:
        self.faults.append(Fault(place, message))

    def _stray(self, piece: Piece) -> None:
        if piece.kind == "close":
            self._fault(piece.place, f"</{piece.text}> closes nothing")
        else:
            word = piece.text.split()[0] if piece.text.split() else ""
            self._fault(piece.place, f"{{% {word} %}} has no beginning")

    def _nodes(self, until: tuple[str, ...]) -> list[syntax.Node]:
        """Nodes up to a piece that ends them, which is left for the caller."""
        nodes: list[syntax.Node] = []
        if len(self._inside) > MAX_NESTED:
            self._fault(self._pieces[self._at - 1].place, f"tags are nested more than {MAX_NESTED} deep")
            raise _TooDeep
        while self._at < len(self._pieces):
            piece = self._pieces[self._at]
            if piece.kind == "close" or (
                piece.kind == "statement" and _word(piece) in ("elif", "else", "endif", "endfor")
            ):
                return nodes
            if piece.kind == "checkpoint":
                if not self._inside:
                    return nodes
                self._fault(
                    piece.place,
                    f"a checkpoint cannot stand inside {self._inside[-1]}; close that first",
                )
                self._at += 1
                continue
            self._at += 1
            try:
                node = self._node(piece)
            except faults.TemplateError as error:
                self.faults.extend(error.faults)
                continue
            if node is not None:
                nodes.append(node)
        return nodes

    def _node(self, piece: Piece) -> syntax.Node | None:
        where: dict[str, Place] = {"place": piece.place, "end": piece.end}
        match piece.kind:
            case "text":
                return syntax.Text(text=piece.text, **where) if piece.text else None
            case "expression":
                return syntax.Show(expression=Expression(piece.text, piece.place), **where)
            case "slot":
                return self._slot(piece)
            case "statement":
                return self._statement(piece)
            case _:
                return self._block(piece)

    # tags

    def _block(self, piece: Piece) -> syntax.Node | None:
        name = piece.text
        outer = [inside for inside in self._inside if inside.startswith("<")]
        if outer:
            allowed = name in ("user", "assistant") and outer == ["<together>"]
            if not allowed:
                self._fault(piece.place, f"<{name}> cannot stand inside {outer[-1]}")
        elif name in ("system", "header") and self._inside:
            self._fault(
                piece.place, f"<{name}> cannot stand inside {self._inside[-1]}; put the condition inside it"
            )
        local, replace = self._scope(piece)
        body = () if piece.closed else self._body(piece, f"<{name}>", ("close",))
        end = self._pieces[self._at - 1].end
        where: dict[str, Any] = {"place": piece.place, "end": end, "body": body}
        if name in ("system", "header"):
            return syntax.System(kind=name, local=local, replace=replace, **where)  # type: ignore[arg-type]
        if name == "together":
            return syntax.Together(**where)
        return syntax.Role(role=name, **where)  # type: ignore[arg-type]

    def _scope(self, piece: Piece) -> tuple[bool, bool]:
        known = {"local", "global", "append", "replace"} if piece.text in ("system", "header") else set()
        given = [word for word, _ in piece.attributes]
        for word in given:
            if word not in known:
                fits = f"; there are {', '.join(sorted(known))}" if known else ""
                self._fault(piece.place, f"<{piece.text}> has no attribute {word!r}{fits}")
        for pair in ({"local", "global"}, {"append", "replace"}):
            if pair <= set(given):
                self._fault(piece.place, f"<{piece.text}> cannot be {' and '.join(sorted(pair))}")
        return "local" in given, "replace" in given

    def _body(self, piece: Piece, shown: str, until: tuple[str, ...]) -> tuple[syntax.Node, ...]:
        self._inside.append(shown)
        nodes = self._nodes(until)
        self._inside.pop()
        closing = self._next()
        if closing is None:
            self._fault(piece.place, f"{shown} is not closed; end it with </{piece.text}>")
        elif closing.kind != "close" or closing.text != piece.text:
            self._at -= 1
            written = f"</{closing.text}>" if closing.kind == "close" else f"{{% {_word(closing)} %}}"
            self._fault(
                piece.place,
                f"{shown} is not closed before {written} in line {closing.place.line}; "
                f"end it with </{piece.text}>",
            )
        return tuple(nodes)

    # statements

    def _statement(self, piece: Piece) -> syntax.Node | None:
        word = _word(piece)
        match word:
            case "if":
                return self._if(piece)
            case "for":
                return self._for(piece)
            case "set":
                targets, value = expressions.parse_set(piece.text.strip(), piece.place)
                return syntax.Set(targets=targets, expression=value, place=piece.place, end=piece.end)
            case _:
                known = ("if", "elif", "else", "endif", "for", "endfor", "set", "raw")
                self._fault(
                    piece.place,
                    f"there is no tag {{% {word} %}} here; there are if, for, set and raw"
                    + faults.meant(word, known),
                )
                return None

    def _if(self, piece: Piece) -> syntax.Node:
        branches: list[tuple[Expression | None, tuple[syntax.Node, ...]]] = []
        condition = self._condition(piece)
        before = dict(self._keys)
        after = dict(before)
        while True:
            self._keys = dict(before)  # a name may stand in several branches: only one of them is taken
            self._inside.append("{% if %}")
            body = tuple(self._nodes(()))
            self._inside.pop()
            after.update(self._keys)
            branches.append((condition, body))
            closing = self._next()
            word = _word(closing) if closing is not None and closing.kind == "statement" else ""
            if closing is not None and word == "endif":
                break
            if closing is not None and word == "elif" and condition is not None:
                condition = self._condition(closing)
            elif closing is not None and word == "else" and condition is not None:
                condition = None
            else:
                self._at -= closing is not None
                self._fault(piece.place, "{% if %} is not closed; end it with {% endif %}")
                break
        self._keys = after
        end = self._pieces[self._at - 1].end
        return syntax.If(branches=tuple(branches), place=piece.place, end=end)

    def _condition(self, piece: Piece) -> Expression | None:
        source = piece.text.strip().removeprefix(_word(piece)).strip()
        if not source:
            self._fault(piece.place, f"{{% {_word(piece)} %}} needs a condition")
            source = "false"
        try:
            return Expression(source, piece.place)
        except faults.TemplateError as error:
            self.faults.extend(error.faults)
            return Expression("false", piece.place)

    def _for(self, piece: Piece) -> syntax.Node:
        try:
            targets, items, test = expressions.parse_for(piece.text.strip(), piece.place)
        except faults.TemplateError as error:
            self.faults.extend(error.faults)
            targets, items, test = "item", Expression("[]", piece.place), None
        self._inside.append("{% for %}")
        body = tuple(self._nodes(()))
        otherwise: tuple[syntax.Node, ...] = ()
        closing = self._next()
        if closing is not None and closing.kind == "statement" and _word(closing) == "else":
            otherwise = tuple(self._nodes(()))
            closing = self._next()
        self._inside.pop()
        if closing is None or closing.kind != "statement" or _word(closing) != "endfor":
            self._at -= closing is not None
            self._fault(piece.place, "{% for %} is not closed; end it with {% endfor %}")
        end = self._pieces[self._at - 1].end
        return syntax.For(
            targets=targets,
            items=items,
            test=test,
            body=body,
            otherwise=otherwise,
            place=piece.place,
            end=end,
        )

    # slots

    def _slot(self, piece: Piece) -> syntax.Node | None:
        try:
            tree = _grammar().parse(piece.text)
        except lark.exceptions.UnexpectedInput as error:
            self._fault(_inside(piece, error), f"the slot cannot be read here; {_SLOT_HELP}")
            return None
        kind = tree.children[0]
        assert isinstance(kind, lark.Tree)
        names = [str(t) for t in kind.children if isinstance(t, lark.Token) and t.type == "NAME"]
        options = self._options(piece, kind)
        where: dict[str, Place] = {"place": piece.place, "end": piece.end}
        if kind.data == "action":
            key = names[1] if len(names) > 1 else None
            if key is not None:
                self._claim(key, piece)
            return syntax.Action(name=names[0], key=key, options=options, **where)
        blocked = [tag for tag in self._inside if tag in ("<system>", "<header>", "<assistant>")]
        if blocked:
            self._fault(
                piece.place, f"a slot cannot stand inside {blocked[-1]}; put it after, and use {{{{name}}}}"
            )
        required = any(isinstance(t, lark.Token) and t.type == "REQUIRED" for t in kind.children)
        type_ = TEXT if kind.data == "plain" else names[0]
        written = names if kind.data == "plain" else names[1:]
        key = written[0] if written else self._made_up(type_)
        self._claim(key, piece)
        listed, least, most = _count(kind)
        if most is not None and least > most:
            self._fault(piece.place, f"{{{least},{most}}} wants at least {least} and at most {most}")
        return syntax.Slot(
            key=key,
            type=type_,
            required=required,
            listed=listed,
            least=least,
            most=most,
            options=options,
            source=piece.text,
            **where,
        )

    def _made_up(self, type_: str) -> str:
        key, number = type_, 1
        while key in self._taken:
            number += 1
            key = f"{type_}_{number}"
        self._taken.add(key)
        return key

    def _claim(self, key: str, piece: Piece) -> None:
        if key in self._keys:
            first = self._keys[key]
            self._fault(
                piece.place,
                f"there is a slot {key!r} already, in line {first.line}; give this one another name",
            )
        self._keys[key] = piece.place

    def _options(self, piece: Piece, kind: lark.Tree[lark.Token]) -> tuple[syntax.Option, ...]:
        found: list[syntax.Option] = []
        for part in kind.find_data("option"):
            inner = part.children[0]
            key = None
            first = token = inner
            if isinstance(inner, lark.Tree):
                first, token = inner.children
                key = str(first).strip()
            assert isinstance(first, lark.Token)
            assert isinstance(token, lark.Token)
            begin = _offset(piece, first.line or 1, first.column or 1)
            place = _offset(piece, token.line or 1, token.column or 1)
            value: Any
            if token.type == "EXPRESSION":
                value = Expression(str(token)[2:-2], place)
            elif token.type == "STRING":
                value = _string(str(token))
            else:
                value = syntax.Bare(str(token).strip())
            found.append(syntax.Option(place=begin, key=key, value=value))
        return tuple(found)


def _word(piece: Piece) -> str:
    words = piece.text.split(None, 1)
    return words[0] if words else ""


def _count(kind: lark.Tree[lark.Token]) -> tuple[bool, int, int | None]:
    """Whether it is a list, and how many at least and at most."""
    for part in kind.children:
        if isinstance(part, lark.Tree) and part.data == "quantifier":
            inner = part.children[0]
            if isinstance(inner, lark.Token):
                return True, int(inner.type == "SOME"), 1 if inner.type == "MAYBE" else None
            numbers = [int(str(number)) for number in inner.children]
            return True, numbers[0], None if inner.data == "at_least" else numbers[-1]
    return False, 0, None


def _written_name(text: str) -> list[str]:
    """The name that stands in a slot, if one does."""
    head = text.split("|", 1)[0].strip().lstrip("!")
    name = head.rpartition(":")[2].strip()
    return [name] if name and not name.startswith("@") else []


def _string(text: str) -> str:
    """The value of a quoted string; a backslash only escapes a quote or a backslash, so that patterns stay."""
    quote, inside = text[0], text[1:-1]
    if "\\" not in inside:
        return inside
    return inside.replace("\\\\", "\\") if f"\\{quote}" not in inside else _unescape(text)


def _unescape(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text[1:-1]


def _inside(piece: Piece, error: lark.exceptions.UnexpectedInput) -> Place:
    line, column = getattr(error, "line", 1), getattr(error, "column", 1)
    if isinstance(line, int) and isinstance(column, int) and line > 0 and column > 0:
        return _offset(piece, line, column)
    return piece.place


def _offset(piece: Piece, line: int, column: int) -> Place:
    """A place inside a piece, from the line and column in its text."""
    inner = piece.inner
    if line == 1:
        return inner._replace(column=inner.column + column - 1)
    return Place(inner.file, inner.line + line - 1, column, piece.text.split("\n")[line - 1])
