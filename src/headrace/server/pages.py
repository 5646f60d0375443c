"""The chat page: built files from `static/`, with headers that keep it to itself.

The files are listed once when the server starts, and only what is on the list is served, so no path can lead
out of the folder. Names under `assets/` carry a hash of their content and are kept for ever; `index.html` is
asked for each time. Where the page has not been built, a plain one says how to build it. Next: `runner`.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from starlette.types import Scope, Send

STATIC = Path(__file__).parent / "static"

_POLICY = (
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
GUARD: list[tuple[bytes, bytes]] = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_MISSING = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Headrace</title>
<h1>Headrace is running</h1>
<p>The chat page has not been built in this checkout. <code>scripts/setup</code> builds it; then start the server
again. The API works without it: <a href="/openapi.json">/openapi.json</a> describes it.</p>
<pre>curl -N -H 'Accept: text/event-stream' -d '{"model":"demo","input":"Hello"}' URL/v1/runs</pre>
</html>
"""


class Pages:
    """The files of one folder.

    Args:
        folder: where the built page is; default: the one in the package.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._files: dict[str, Path] = {}
        if (folder / "index.html").is_file():
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self._files["/" + path.relative_to(folder).as_posix()] = path

    def has(self, path: str) -> bool:
        """Whether `path` is one of the page's."""
        return path in ("/", "/index.html") or path in self._files

    async def send(self, scope: Scope, send: Send) -> int:
        """Answer GET or HEAD for a path that `has` knows; returns the status."""
        path: str = scope["path"]
        file = self._files.get("/index.html" if path == "/" else path)
        content = _MISSING if file is None else file.read_bytes()
        etag = b'"%s"' % hashlib.sha256(content).hexdigest()[:20].encode()
        kept = path.startswith("/assets/")
        headers = [
            *GUARD,
            (b"etag", etag),
            (b"cache-control", b"public, max-age=31536000, immutable" if kept else b"no-cache"),
        ]
        if any(k == b"if-none-match" and etag in v for k, v in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body"})
            return 304
        kind = (
            "text/html" if file is None else mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        )
        if kind.startswith("text/") or kind.endswith("javascript"):
            kind += "; charset=utf-8"
        headers += [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
        return 200
