"""From a model's name to its provider: names, defaults, what can be reached.

A name is `provider:model` or `provider/model`, split at whichever comes first. A provider is, in this order:
one the program registered, a table `[providers.NAME]` of the settings, one that is built in (`demo`, `local`,
`replay` and the presets), or an entry point of the group `headrace.providers`. Each is built when it is first
asked for, once, and shared; `close` gives all of them back. Any object with `generate`, `generate_stream` or
`stream` is a provider too (`as_provider`). Next: `scripted`.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.metadata
import re
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import msgspec

from headrace import errors, events, settings
from headrace.providers import base, presets

__all__ = ["Known", "Listing", "Registry", "as_provider", "split_name"]

ENTRY_POINTS = "headrace.providers"
Factory: TypeAlias = Callable[[settings.Settings], base.Provider]

# A bare name that only one vendor uses.
_FAMILIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(ft:)?(gpt-|chatgpt-|codex-|o[1-9](-|\Z))"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
    (re.compile(r"deepseek-(chat|reasoner)\Z"), "deepseek"),
    (re.compile(r"grok-"), "xai"),
    (re.compile(r"(open-)?(mistral|ministral|codestral|magistral|pixtral)-"), "mistral"),
)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as a list of them shows it.

    Attributes:
        set_up: whether it can be asked as things are (a key or a base URL is set, or it needs neither).
        variable: the environment variable that sets it up.
        origin: `registered`, `settings`, `built-in` or `entry-point`.
    """

    name: str
    origin: str
    set_up: bool
    variable: str | None = None
    base_url: str | None = None
    default_model: str | None = None
    notes: str = ""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The models of one provider, or why they could not be had."""

    provider: str
    models: list[str] = []
    error: errors.HeadraceError | None = None


class Registry:
    """The providers of one program.

    Args:
        chosen: the settings; default: `settings.load()`.
        files: whether any name may point to a file (`local:`, `replay:`). A server says False, because there
            strangers name the models: then only the one in the settings may.
    """

    def __init__(self, chosen: settings.Settings | None = None, *, files: bool = True) -> None:
        self.settings = chosen if chosen is not None else settings.load()
        self._files = files
        self._registered: dict[str, Factory] = {}
        self._built: dict[str, base.Provider] = {}
        self._lock = threading.RLock()

    def register(self, name: str, provider: object) -> None:
        """Add a provider under `name`; an earlier one of that name is replaced.

        Args:
            provider: a provider, an object that `as_provider` takes, or a function from the settings to one.

        Raises:
            errors.UsageError: the name holds `:` or `/`, or the object is none of these.
        """
        if not name or ":" in name or "/" in name:
            raise errors.UsageError(f"the provider name {name!r} must not be empty or hold ':' or '/'")
        if callable(provider) and not _is_model(provider):
            maker: Callable[[settings.Settings], object] = provider
        else:
            ready = as_provider(provider)

            def maker(chosen: settings.Settings) -> object:
                return ready

        with self._lock:
            self._registered[name] = lambda chosen: as_provider(maker(chosen))
            self._built.pop(name, None)

    def resolve(self, model: str | object) -> tuple[base.Provider, str]:
        """The provider of a model, and the name that the provider knows the model by.

        Args:
            model: `provider:model`, `provider/model`, the name of a provider alone, a well-known model's bare
                name, or an object that `as_provider` takes.

        Raises:
            errors.UsageError: there is no such provider, or a model has to be named.
            errors.ProviderError: `auth-failed`, naming the variable to set.
            errors.MissingExtra: the provider needs an extra that is not installed.
            errors.AccessError: `forbidden`, a file where `files` is off.
        """
        if not isinstance(model, str):
            provider = as_provider(model)
            return provider, str(getattr(model, "model", None) or provider.name)
        name, rest = split_name(model)
        if not rest:
            family = next((vendor for pattern, vendor in _FAMILIES if pattern.match(model)), None)
            if not self._knows(name) and family:
                name, rest = family, model
        elif not self._knows(name) and model.startswith("ft:gpt-"):
            name, rest = "openai", model
        if not rest and self._knows(name):
            rest = self._default_of(name) or ""
            if not rest:
                raise errors.UsageError(
                    f"{model!r} names a provider and no model; write {name}:MODEL", details={"provider": name}
                )
        if (
            name in _FILES
            and not self._files
            and name not in self._registered
            and model != self.settings.model
        ):
            raise errors.AccessError(
                f"{name}: models are files of this machine; here only the one in HEADRACE_MODEL can be asked",
                code="forbidden",
            )
        return self.provider(name), rest

    def provider(self, name: str) -> base.Provider:
        """The provider called `name`, built when it is first asked for.

        Raises:
            errors.HeadraceError: see `resolve`.
        """
        with self._lock:
            found = self._built.get(name)
            if found is None:
                found = self._built[name] = self._factory(name)(self.settings)
            return found

    def default_model(self) -> str:
        """The model where none is named: `HEADRACE_MODEL`, else of the first provider set up, else `demo`."""
        if self.settings.model:
            return self.settings.model
        for name, endpoint in self.settings.providers.items():
            if endpoint.default_model:
                return f"{name}:{endpoint.default_model}"
        for preset in presets.PRESETS:
            if preset.default_model and preset.is_set_up(self.settings):
                return f"{preset.name}:{preset.default_model}"
        return "demo"

    def known(self) -> list[Known]:
        """Every provider there is a name for, without building any."""
        rows = [Known(name=name, origin="registered", set_up=True) for name in self._registered]
        rows += [
            Known(
                name=name,
                origin="settings",
                set_up=not endpoint.api_key_env or self.settings.variable(endpoint.api_key_env) is not None,
                variable=endpoint.api_key_env,
                base_url=endpoint.base_url,
                default_model=endpoint.default_model,
            )
            for name, endpoint in self.settings.providers.items()
        ]
        rows += [
            Known(
                name=preset.name,
                origin="built-in",
                set_up=preset.is_set_up(self.settings) or preset.key_field is None,
                variable=settings.variable_of(preset.setting),
                base_url=preset.url(self.settings),
                default_model=preset.default_model,
                notes=preset.notes,
            )
            for preset in presets.PRESETS
        ]
        rows += [
            Known(name=name, origin="built-in", set_up=True, notes=notes, default_model=default)
            for name, (_, default, notes) in _BUILT_IN.items()
        ]
        rows += [Known(name=name, origin="entry-point", set_up=True) for name in _entry_points()]
        first = {row.name: row for row in reversed(rows)}
        return [row for row in rows if first[row.name] is row]

    async def models(self, timeout: float = 3.0) -> list[Listing]:
        """Ask every provider that is set up for its models, all at once.

        Providers of entry points are asked only when they have been used: building one can be slow.

        Args:
            timeout: seconds for each.

        Returns:
            One `Listing` a provider, in a fixed order; names are `provider:model`.
        """
        names = [row.name for row in self.known() if row.set_up and row.origin != "entry-point"]
        names += [name for name in self._built if name not in names]
        return list(await asyncio.gather(*(self._list(name, timeout) for name in names)))

    async def close(self) -> None:
        """Close every provider that was built. The registry can be used again afterwards."""
        with self._lock:
            built, self._built = list(self._built.values()), {}
        results = await asyncio.gather(*(provider.close() for provider in built), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise failures[0]

    async def _list(self, name: str, timeout: float) -> Listing:
        try:
            async with asyncio.timeout(timeout):
                models = await self.provider(name).models()
        except TimeoutError:
            error = errors.ProviderError(
                f"{name} did not list its models within {timeout:g} s", code="provider-timeout"
            )
            return Listing(provider=name, error=error)
        except errors.HeadraceError as error:
            return Listing(provider=name, error=error)
        return Listing(provider=name, models=[f"{name}:{model}" for model in models])

    def _knows(self, name: str) -> bool:
        return (
            name in self._registered
            or name in self.settings.providers
            or name in presets.BY_NAME
            or name in _BUILT_IN
            or name in _entry_points()
        )

    def _default_of(self, name: str) -> str | None:
        if name in self._registered:
            return name
        if name in self.settings.providers:
            return self.settings.providers[name].default_model
        if name in presets.BY_NAME:
            return presets.BY_NAME[name].default_model
        return _BUILT_IN[name][1] if name in _BUILT_IN else None

    def _factory(self, name: str) -> Factory:
        if name in self._registered:
            return self._registered[name]
        if name in self.settings.providers:
            endpoint = self.settings.providers[name]
            return lambda chosen: presets.build_endpoint(name, endpoint, chosen)
        if name in presets.BY_NAME:
            return lambda chosen: presets.build(presets.BY_NAME[name], chosen)
        if name in _BUILT_IN:
            return _BUILT_IN[name][0]
        found = _entry_points().get(name)
        if found is not None:
            return lambda chosen: as_provider(found.load()(chosen))
        names = [row.name for row in self.known()]
        near = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise errors.UsageError(
            f"there is no provider {name!r}{hint}. There are: {', '.join(sorted(names))}",
            details={"provider": name, "providers": sorted(names), "nearest": near[0] if near else None},
        )


def split_name(model: str) -> tuple[str, str]:
    """Split a model's name into provider and model, at the first `:` or `/`; no model: an empty string."""
    found = re.search(r"[:/]", model)
    return (model[: found.start()], model[found.end() :]) if found else (model, "")


def as_provider(model: object) -> base.Provider:
    """Take any object that can answer as a provider.

    Args:
        model: a provider; an object with `stream(request, exchange)` alone; or a chat adapter with `generate`
            or `generate_stream` (see `callable`).

    Raises:
        errors.UsageError: it has none of these.
    """
    if callable(getattr(model, "stream", None)):
        if all(hasattr(model, part) for part in ("name", "capabilities", "models", "close")):
            return model  # type: ignore[return-value]
        return _Completed(model)
    if _is_model(model):
        from headrace.providers import callable as callables

        return callables.CallableProvider(model)
    raise errors.UsageError(
        f"{type(model).__name__!r} cannot be used as a model: it has no stream(), generate() or"
        " generate_stream()"
    )


def _is_model(model: object) -> bool:
    return not isinstance(model, type) and any(
        callable(getattr(model, method, None)) for method in ("stream", "generate", "generate_stream")
    )


class _Completed:
    """An object that has only `stream`, with the rest of the port added."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.name: str = str(getattr(model, "name", None) or type(model).__name__)

    def capabilities(self, model: str) -> base.Capabilities:
        own = getattr(self._model, "capabilities", None)
        return own(model) if own else base.Capabilities()

    def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncIterator[list[events.Event]]:
        found: AsyncIterator[list[events.Event]] = self._model.stream(request, exchange)
        return found

    async def models(self) -> list[str]:
        own = getattr(self._model, "models", None)
        return list(await own()) if own else []

    async def close(self) -> None:
        own = getattr(self._model, "close", None)
        if own:
            await own()


def _demo(chosen: settings.Settings) -> base.Provider:
    from headrace.providers import demo

    return demo.Demo()


def _local(chosen: settings.Settings) -> base.Provider:
    from headrace.providers import local

    return local.Local()


def _replay(chosen: settings.Settings) -> base.Provider:
    from headrace.providers import replay

    return replay.Replay()


# name: how it is built, its default model, a note
_BUILT_IN: dict[str, tuple[Factory, str | None, str]] = {
    "local": (_local, None, "local:PATH.gguf, in this process; needs the extra 'local'"),
    "replay": (_replay, None, "replay:PATH, a recorded run or a recorded provider stream"),
    "demo": (_demo, "demo", "the built-in scripted guide"),
}
# built-in providers whose models are paths
_FILES = frozenset(("local", "replay"))


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
