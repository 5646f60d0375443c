"""Who may ask: API keys, and a guard against other people's web pages. Pure: headers in, an owner out.

With keys set, every route but the page and the probes wants `Authorization: Bearer KEY`; whose run something
is, is a short hash of the key, so that no key is ever stored. With none set everybody on this machine may ask,
so the guard keeps browsers out that a foreign page drives:

1. The `Host` must be a loopback name, an IP address or a configured name. A page that has its own name resolve
   to 127.0.0.1 (DNS rebinding) sends its own name here.
2. A request that carries the `Origin` of another site, or that the browser itself marks as cross-site, is
   refused; unless the origin is one that the settings allow (`cors_origins`).

Next: `bodies`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from headrace import errors

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/favicon.ico", "/openapi.json", "/docs"})
"""Paths that need no key; so do the page's files under /assets/."""

RawHeaders = Sequence[tuple[bytes, bytes]]


def header(headers: RawHeaders, name: bytes) -> str | None:
    """The first value of a header; names are lower case in ASGI."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def owner_of(key: str) -> str:
    """The owner that stands for a key: a short hash of it."""
    return "key_" + hashlib.sha256(key.encode()).hexdigest()[:16]


class Gate:
    """Decides who a request comes from, and whether it may come in.

    Args:
        keys: the API keys; none: no key is asked for, and the guard is up.
        hosts: further names for `Host`, beside loopback names and IP addresses; `*` is any.
        origins: origins of other sites whose pages may ask (`https://app.example.com`); `*` is any.
    """

    def __init__(
        self, keys: Iterable[str] = (), *, hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        self._keys = [(hashlib.sha256(key.encode()).digest(), owner_of(key)) for key in keys]
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    @property
    def locked(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._keys)

    def owner(self, headers: RawHeaders) -> str:
        """Whose request this is; "" where no key is asked for.

        Raises:
            errors.AccessError: `unauthorized`.
        """
        if not self._keys:
            return ""
        given = header(headers, b"authorization")
        if given is None:
            raise errors.AccessError("this server wants an API key: send 'Authorization: Bearer KEY'")
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer":
            raise errors.AccessError(
                f"the authorization scheme {scheme[:20]!r} is not known; use 'Bearer KEY'"
            )
        digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
        found = ""
        for known, owner in self._keys:  # all of them, so that the time says nothing
            if hmac.compare_digest(known, digest):
                found = owner
        if not found:
            raise errors.AccessError("the API key is not one of this server's")
        return found

    def check_host(self, headers: RawHeaders) -> None:
        """Refuse a name that is not this server's. Nothing is refused where keys are set.

        Raises:
            errors.AccessError: `forbidden`.
        """
        if self._keys or "*" in self._hosts:
            return
        given = header(headers, b"host") or ""
        name = _host_name(given)
        if name in self._hosts or _is_here(name):
            return
        raise errors.AccessError(
            f"the host name {given[:80]!r} is not one of this server's; set HEADRACE_ALLOWED_HOSTS to allow it",
            code="forbidden",
        )

    def check_site(self, headers: RawHeaders) -> None:
        """Refuse what another site's page asks for. Nothing is refused where keys are set.

        Raises:
            errors.AccessError: `forbidden`.
        """
        if self._keys:
            return
        origin = header(headers, b"origin")
        if origin is not None:
            if self.allows(origin) or _same(origin, header(headers, b"host") or ""):
                return
            raise _foreign(origin)
        if header(headers, b"sec-fetch-site") in ("cross-site", "same-site"):
            raise _foreign("another site")

    def allows(self, origin: str) -> bool:
        """Whether pages of `origin` may read answers (CORS)."""
        return "*" in self._origins or origin.lower() in self._origins


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1 : host.find("]")].lower()
    return host.partition(":")[0].lower()


def _is_here(name: str) -> bool:
    """A name that no stranger's DNS can point at us: localhost, or an address."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    return bool(host) and urlsplit(origin).netloc.lower() == host.lower()


def _foreign(origin: str) -> errors.AccessError:
    return errors.AccessError(
        f"a page of {origin[:80]} may not ask here; set HEADRACE_CORS_ORIGINS to allow it, or set API keys",
        code="forbidden",
    )
