"""`File` of a program: text files below one folder, and nothing above it, also not through a link.

What may hold a secret is not there: names that begin with a dot, and `headrace.toml`. Next: `host`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace import errors

MAX_BYTES = 4 * 1024 * 1024
MAX_NAMES = 10_000


class FileRefused(errors.UsageError):
    """A file that a program may not have, or that cannot be read or written."""

    default_code = "procedure-error"


SECRET = frozenset(("headrace.toml",))
"""Files that may hold keys."""


def act(root: Path, given: dict[str, Any], writes: frozenset[str] | None = None) -> Any:
    """Do what `File.read`, `.write`, `.append`, `.exists` or `.list` asks.

    Args:
        writes: endings of the files that may be written; None is any.

    Raises:
        FileRefused: in words for the program.
    """
    op, name = given.get("op"), given.get("path", "." if given.get("op") == "list" else None)
    if not isinstance(name, str) or not name or "\0" in name:
        raise FileRefused(f"File.{op} needs a path")
    path = inside(root, name)
    try:
        match op:
            case "exists":
                return path.exists()
            case "list":
                found = [p for p in path.iterdir() if not secret(p.name)]
                return sorted(f"{p.name}/" if p.is_dir() else p.name for p in found)[:MAX_NAMES]
            case "read":
                if path.stat().st_size > MAX_BYTES or not path.is_file():
                    raise FileRefused(f"{name} is no file, or is larger than 4 MB")
                return path.read_text("utf-8")
            case "write" | "append":
                content = given.get("content")
                if not isinstance(content, str) or len(content.encode()) > MAX_BYTES:
                    raise FileRefused(f"File.{op} needs a text of 4 MB at most")
                if writes is not None and path.suffix not in writes:
                    raise FileRefused(
                        f"{name} cannot be written here: it must end in {', '.join(sorted(writes))}"
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a" if op == "append" else "w", encoding="utf-8") as file:
                    file.write(content)
                return True
    except UnicodeDecodeError as error:
        raise FileRefused(f"{name} is not UTF-8 text") from error
    except OSError as error:
        raise FileRefused(f"{name}: {error.strerror}") from error
    raise FileRefused(f"there is no File.{op}")


def inside(root: Path, name: str) -> Path:
    """The path below `root`.

    Raises:
        FileRefused: it is not below.
    """
    root = root.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise FileRefused(f"{name} is outside the working directory")
    if any(map(secret, path.relative_to(root).parts)):
        raise FileRefused(f"{name} is hidden, or may hold keys")
    return path


def secret(part: str) -> bool:
    """Whether a file or folder of that name is nobody's business."""
    return part.startswith(".") or part in SECRET
