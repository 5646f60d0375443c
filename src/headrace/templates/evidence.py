"""The passages of a folder that fit a question best: BM25 over the paragraphs of its text files.

Okapi BM25 (Robertson and Zaragoza 2009) with the usual `K1` and `B`; words are what `\\w+` finds, without case. An
index is kept for as long as no file of the folder changes. Next: `actions`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from headrace import errors

K1, B = 1.5, 0.75
SUFFIXES = (".md", ".txt", ".rst", ".html", ".csv", ".json")
MAX_BYTES = 50 * 1024 * 1024
PASSAGE = 1200
"""Characters of a passage: paragraphs are put together up to it, longer ones are cut."""

_WORD = re.compile(r"\w+")
_kept: OrderedDict[tuple[object, ...], Index] = OrderedDict()
_KEPT = 8


class Passage(NamedTuple):
    """A passage, and the file it is from."""

    file: str
    text: str


class Index:
    """Passages that can be searched."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self.passages = list(passages)
        self._counts = [Counter(words(passage.text)) for passage in self.passages]
        self._lengths = [count.total() for count in self._counts]
        self._mean = sum(self._lengths) / len(self._lengths) if self._lengths else 0.0
        self._in = Counter(word for count in self._counts for word in count)

    def best(self, question: str, count: int) -> list[Passage]:
        """The passages that fit best, best first; none that has no word of the question."""
        asked = set(words(question))
        scored = [(self._score(number, asked), -number) for number in range(len(self.passages))]
        found = sorted((one for one in scored if one[0] > 0), reverse=True)[:count]
        return [self.passages[-number] for _, number in found]

    def _score(self, number: int, asked: Iterable[str]) -> float:
        counts, total = self._counts[number], len(self.passages)
        length = K1 * (1 - B + B * self._lengths[number] / self._mean) if self._mean else K1
        score = 0.0
        for word in asked:
            if often := counts[word]:
                rare = math.log(1 + (total - self._in[word] + 0.5) / (self._in[word] + 0.5))
                score += rare * often * (K1 + 1) / (often + length)
        return score


def words(text: str) -> list[str]:
    """The words of a text, for comparing."""
    return _WORD.findall(text.casefold())


def passages(text: str, file: str = "") -> list[Passage]:
    """A text in passages: whole paragraphs, as many as fit."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip()
        while paragraph:
            piece, paragraph = paragraph[:PASSAGE], paragraph[PASSAGE:]
            if found and len(found[-1]) + len(piece) + 2 <= PASSAGE:
                found[-1] += f"\n\n{piece}"
            else:
                found.append(piece)
    return [Passage(file, piece) for piece in found]


def index(folder: Path) -> Index:
    """The index of a folder.

    Raises:
        errors.UsageError: `bad-request`: there is no such folder; `too-large`.
    """
    if not folder.is_dir():
        raise errors.UsageError(f"there is no folder {folder}", code="bad-request")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    state = [(str(path), status.st_mtime_ns, status.st_size) for path in files if (status := path.stat())]
    size = sum(bytes for _, _, bytes in state)
    if size > MAX_BYTES:
        raise errors.UsageError(
            f"{folder} has {size:,} bytes of text; {MAX_BYTES:,} can be searched", code="too-large"
        )
    key = (str(folder.resolve()), *state)
    if key not in _kept:
        _kept[key] = Index(_read(files, folder))
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _read(files: Sequence[Path], folder: Path) -> Iterable[Passage]:
    for path in files:
        yield from passages(path.read_text("utf-8", "replace"), path.relative_to(folder).as_posix())
