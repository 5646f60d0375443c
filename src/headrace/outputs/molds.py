"""How a growing value of a Python type is made: a `Mold` a type, made once, followed by `partial`.

A mold says what may be shown of a value before it is complete: text grows, records and lists are there from their
bracket on, everything else (numbers, booleans, enums, literals, dates) only when complete, and of its type. Marks
in annotations say more: `Annotated[str, Done]` shows a value only when it is complete; `Annotated[str, NotNull]`
shows the object that holds it only when it is there. Next: `partial`.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pydantic
import pydantic.errors
import typing_extensions


class Done:
    """A mark for `Annotated`: in growing values, shown only when it is complete."""


class NotNull:
    """A mark for `Annotated`: in growing values, the object that holds this field is shown only when it is there."""


class Mold:
    """How one type grows; this one, of anything: as it comes.

    Attributes:
        done: whether it is shown only when complete.
        needed: whether what holds it waits for it.
    """

    text = True  # strings grow
    done = False
    needed = False

    def opened(self, is_object: bool) -> Mold | None:
        """The mold of the object or array that begins; None when it cannot be shown."""
        return self

    def new(self) -> tuple[Any, Any]:
        """An empty value, and where to put what comes (an item can be set in it)."""
        raise NotImplementedError

    def inner(self, step: Any) -> tuple[Any, Mold] | None:
        """The name and mold of what is at a key or an index; None when it is not shown."""
        return step, ANY

    def whole(self, value: Any) -> Any:
        """A complete scalar, as it is shown; None when it is not of the type."""
        return value

    def waits(self) -> set[Any]:
        """The names that must be there before it is shown."""
        return set()


class _Any(Mold):
    def opened(self, is_object: bool) -> Mold | None:
        return PLAIN_MAP if is_object else PLAIN_LIST


class Text(Mold):
    """A string that grows."""

    def opened(self, is_object: bool) -> Mold | None:
        """A bracket is no text."""
        return None

    def whole(self, value: Any) -> Any:
        """A string only."""
        return value if isinstance(value, str) else None


class Whole(Text):
    """A scalar that is there when it is complete; `convert` makes it one of the type, and raises where it is none."""

    text = False

    def __init__(self, exact: type | None, annotation: Any) -> None:
        self.exact = exact
        self.annotation = annotation
        self._convert: Callable[[Any], Any] | None = None

    def whole(self, value: Any) -> Any:
        """The value of the type."""
        if type(value) is self.exact:
            return value
        if value is None:
            return None
        if self._convert is None:
            self._convert = converter(self.annotation)
        return self._convert(value)


class Listed(Mold):
    """A list, or what becomes a tuple or a set at the end."""

    def __init__(self, item: Mold, first: tuple[Mold, ...] = ()) -> None:
        self.item = item
        self.first = first

    def opened(self, is_object: bool) -> Mold | None:
        """Arrays only."""
        return None if is_object else self

    def new(self) -> tuple[Any, Any]:
        """An empty list."""
        made: list[Any] = []
        return made, made

    def inner(self, step: Any) -> tuple[Any, Mold] | None:
        """By index."""
        return step, (self.first[step] if step < len(self.first) else self.item)

    def whole(self, value: Any) -> Any:
        """No scalar is one."""
        return None


class Mapped(Mold):
    """A dict by key."""

    def __init__(self, item: Mold) -> None:
        self.item = item

    def opened(self, is_object: bool) -> Mold | None:
        """Objects only."""
        return self if is_object else None

    def new(self) -> tuple[Any, Any]:
        """An empty dict."""
        made: dict[str, Any] = {}
        return made, made

    def inner(self, step: Any) -> tuple[Any, Mold] | None:
        """All values alike."""
        return step, self.item

    def whole(self, value: Any) -> Any:
        """No scalar is one."""
        return None


class _Slots:
    """Sets attributes as items, also of frozen classes with slots."""

    __slots__ = ("_set", "_value")

    def __init__(self, value: Any, set_attribute: Callable[[Any, str, Any], None]) -> None:
        self._value = value
        self._set = set_attribute

    def __getitem__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._set(self._value, name, value)


class Record(Mapped):
    """A Pydantic model, dataclass, TypedDict or Struct: absent fields are None.

    Args:
        make: makes an empty one, and where to put its fields.
        fields: by JSON key, the attribute's name and its annotation.
        tag: the key and value that tell it from others of a union, where a Struct has them.
    """

    def __init__(
        self,
        annotation: Any,
        make: Callable[[], tuple[Any, Any]],
        fields: Mapping[str, tuple[str, Any]],
        tag: tuple[str, Any] | None = None,
    ) -> None:
        self.annotation = annotation
        self.new = make  # type: ignore[method-assign]
        self._hints = fields
        self.tag = tag
        self._fields: dict[str, tuple[str, Mold]] | None = None
        self._waits: set[Any] = set()

    @property
    def fields(self) -> dict[str, tuple[str, Mold]]:
        """By JSON key; made when first asked for, for records may hold themselves."""
        if self._fields is None:
            self._fields = {key: (name, mold(hint)) for key, (name, hint) in self._hints.items()}
            self._waits = {name for name, inner in self._fields.values() if inner.needed}
        return self._fields

    def inner(self, step: Any) -> tuple[Any, Mold] | None:
        """By JSON key."""
        return self.fields.get(step)

    def waits(self) -> set[Any]:
        """The fields marked `NotNull`."""
        return set(self._waits) if self.fields else set()


class Union(Mold):
    """One of several; `partial` decides which, as far as keys and literals tell."""

    def __init__(self, annotation: Any, members: list[Mold]) -> None:
        self.annotation = annotation
        self.members = members
        self.text = any(isinstance(one, Text) and one.text for one in members) and not any(
            isinstance(one, Whole) and one.exact is None for one in members
        )
        self._convert: Callable[[Any], Any] | None = None

    def candidates(self, is_object: bool) -> list[Mold]:
        """The members that may begin with this bracket."""
        found = [member.opened(is_object) for member in self.members]
        return [member for member in found if member is not None]

    def opened(self, is_object: bool) -> Mold | None:
        """The one member it can be; itself when there are several."""
        found = self.candidates(is_object)
        return self if len(found) > 1 else found[0] if found else None

    def new(self) -> tuple[Any, Any]:
        """Not decided: a plain dict, shown to nobody."""
        made: dict[str, Any] = {}
        return made, made

    def whole(self, value: Any) -> Any:
        """The value of the type."""
        if self._convert is None:
            self._convert = converter(self.annotation)
        return self._convert(value)


ANY = _Any()
PLAIN_LIST, PLAIN_MAP = Listed(ANY), Mapped(ANY)
_made: dict[Any, Mold] = {}


def mold(annotation: Any) -> Mold:
    """The mold of a type."""
    try:
        found = _made.get(annotation)
    except TypeError:  # not hashable: Annotated with a dict in it
        return _mold(annotation)
    if found is None:
        found = _mold(annotation)
        if len(_made) < 1000:
            _made[annotation] = found
    return found


def converter(annotation: Any) -> Callable[[Any], Any]:
    """A function from a JSON value to a value of the type; None where it is none."""
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except (pydantic.errors.PydanticUserError, TypeError, NameError):

        def by_msgspec(value: Any) -> Any:
            try:
                return msgspec.convert(value, annotation)
            except (msgspec.ValidationError, TypeError):
                return None

        return by_msgspec

    def by_pydantic(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError:
            return None

    return by_pydantic


def _mold(annotation: Any) -> Mold:
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing_extensions.Annotated):
        return _marked(annotation)
    if origin in (
        typing.Required,
        typing.NotRequired,
        typing_extensions.ReadOnly,
        typing.ClassVar,
        typing.Final,
    ):
        return mold(typing.get_args(annotation)[0])
    if isinstance(annotation, typing_extensions.TypeAliasType):
        return mold(annotation.__value__)
    if isinstance(annotation, typing.NewType):
        return mold(annotation.__supertype__)
    if origin in (typing.Union, types.UnionType):
        members = [one for one in typing.get_args(annotation) if one is not type(None)]
        return mold(members[0]) if len(members) == 1 else Union(annotation, [mold(one) for one in members])
    if origin is typing.Literal:
        return Whole(None, annotation)
    if annotation is Any or annotation is object or isinstance(annotation, typing.TypeVar):
        return ANY
    if annotation is str:
        return Text()
    if annotation in (int, float, bool):
        return Whole(annotation, annotation)
    kind = origin or annotation
    if not isinstance(kind, type):
        return ANY
    return _of_class(annotation, kind)


def _of_class(annotation: Any, kind: type) -> Mold:
    arguments = typing.get_args(annotation)
    if issubclass(kind, pydantic.BaseModel):
        return _model(kind)
    if issubclass(kind, msgspec.Struct):
        return _struct(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if typing_extensions.is_typeddict(kind):
        return _typed_dict(kind)
    if issubclass(kind, tuple):
        if len(arguments) == 2 and arguments[1] is ...:
            return Listed(mold(arguments[0]))
        return Listed(ANY, tuple(mold(one) for one in arguments))
    if issubclass(kind, abc.Mapping):
        return Mapped(mold(arguments[1]) if len(arguments) == 2 else ANY)
    if issubclass(kind, str) and not issubclass(kind, enum.Enum):
        return Whole(None, annotation)
    if issubclass(kind, abc.Collection) and not issubclass(kind, bytes | bytearray | str | enum.Enum):
        return Listed(mold(arguments[0]) if arguments else ANY)
    return Whole(None, annotation)


def _marked(annotation: Any) -> Mold:
    inner, *marks = typing.get_args(annotation)
    base = mold(inner)
    done = any(mark is Done or isinstance(mark, Done) for mark in marks)
    needed = any(mark is NotNull or isinstance(mark, NotNull) for mark in marks)
    return marked(base, done, needed)


def marked(base: Mold, done: bool, needed: bool) -> Mold:
    """The same mold, with marks."""
    if not done and not needed:
        return base
    made: Mold = _copy(base)
    made.done, made.needed = base.done or done, base.needed or needed
    return made


def _copy(base: Mold) -> Mold:
    made = object.__new__(type(base))
    made.__dict__.update(base.__dict__)
    return made


def _model(kind: type[pydantic.BaseModel]) -> Mold:
    if issubclass(kind, pydantic.RootModel):
        return mold(kind.model_fields["root"].annotation)
    names = tuple(kind.model_fields)
    resolved: dict[str, Any] = {}
    if any(_names_a_type(info.annotation) for info in kind.model_fields.values()):
        try:
            resolved = typing.get_type_hints(kind, include_extras=True)
        except NameError:  # a class of a function's: its fields grow as plain dicts and lists
            resolved = {}

    def make() -> tuple[Any, Any]:
        made = kind.__new__(kind)
        object.__setattr__(made, "__dict__", dict.fromkeys(names))
        object.__setattr__(made, "__pydantic_fields_set__", set())
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made, made.__dict__

    fields: dict[str, tuple[str, Any]] = {}
    for name, info in kind.model_fields.items():
        hint: Any = info.annotation
        if _names_a_type(hint) and name in resolved:
            hint = resolved[name]
        if info.metadata:
            hint = typing.Annotated[(hint, *info.metadata)]
        alias = info.validation_alias
        keys = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
        for key in (*keys, name):
            if isinstance(key, str):
                fields.setdefault(key, (name, hint))
    return Record(kind, make, fields)


def _names_a_type(annotation: Any) -> bool:
    """Whether a type in it is only a name: `list["Row"]`."""
    if isinstance(annotation, str | typing.ForwardRef):
        return True
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return any(_names_a_type(inner) for inner in typing.get_args(annotation))


def _dataclass(kind: type) -> Mold:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]

    def make() -> tuple[Any, Any]:
        made = object.__new__(kind)
        if hasattr(made, "__dict__"):
            made.__dict__.update(dict.fromkeys(names))
            return made, made.__dict__
        for name in names:
            object.__setattr__(made, name, None)
        return made, _Slots(made, object.__setattr__)

    return Record(kind, make, {name: (name, hints[name]) for name in names})


def _without_post_init(body: dict[str, Any]) -> None:
    body["__post_init__"] = lambda self: None


def _struct(kind: type[msgspec.Struct]) -> Mold:
    config = kind.__struct_config__
    if config.array_like:
        return ANY
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = msgspec.structs.fields(kind)
    names = dict.fromkeys(field.name for field in fields)
    shown: Any = kind
    if hasattr(kind, "__post_init__"):  # which may well stumble over what is not there yet
        shown = types.new_class(kind.__name__, (kind,), {}, _without_post_init)

    def make() -> tuple[Any, Any]:
        made = shown(**names)
        return made, _Slots(made, msgspec.structs.force_setattr)

    tag = None if config.tag_field is None else (config.tag_field, config.tag)
    return Record(kind, make, {field.encode_name: (field.name, hints[field.name]) for field in fields}, tag)


def _typed_dict(kind: Any) -> Mold:
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    required = sorted(kind.__required_keys__, key=list(hints).index)

    def make() -> tuple[Any, Any]:
        made: dict[str, Any] = dict.fromkeys(required)
        return made, made

    return Record(kind, make, {name: (name, hint) for name, hint in hints.items()})
