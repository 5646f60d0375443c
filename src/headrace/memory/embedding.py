"""How near two texts are, without asking anybody: words and their parts, hashed into a short vector.

`hashed` is the default of the graph's slices: texts that share words, or words that share most letters (plant,
plants), are near; nothing else is known of their meaning. It depends on the text alone, so the same ledger gives the
same slices everywhere. A program that has a better one gives it as `Runtime(embed=…)`: any function of a text to
numbers, deterministic if contexts are to be. `Vectors` remembers what was embedded. Next: `graph`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

Embed = Callable[[str], Sequence[float]]

SIZE = 128
"""Numbers in a vector of `hashed`."""
KEPT = 4096
"""Vectors remembered, the last used."""

_WORD = re.compile(r"[^\W_]{4,40}")


def hashed(text: str) -> tuple[float, ...]:
    """The vector of a text: of length 1, or all zeros for one without words."""
    sums = [0.0] * SIZE
    for word in _WORD.findall(text.casefold()):
        for place, weight in _places(word):
            sums[place] += weight
    return unit(sums)


@functools.lru_cache(maxsize=16_384)
def _places(word: str) -> tuple[tuple[int, float], ...]:
    """Where a word and its runs of three letters go, and with which sign."""
    parts = [(word, 2.0), *((word[at : at + 3], 1.0) for at in range(len(word) - 2))]
    found = []
    for part, weight in parts:
        code = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=2).digest()
        found.append((code[0] % SIZE, weight if code[1] & 1 else -weight))
    return tuple(found)


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors of length 1, rounded, so that the last bit of a sum decides nothing."""
    near: float = sum(map(operator.mul, one, other))
    return round(near, 6)


def unit(vector: Sequence[float]) -> tuple[float, ...]:
    """A vector of length 1 in the same direction; zeros as they are."""
    length = math.sqrt(sum(value * value for value in vector))
    return tuple(value / length for value in vector) if length else tuple(vector)


class Vectors:
    """Embeddings by text.

    Args:
        embed: makes them.
    """

    def __init__(self, embed: Embed = hashed) -> None:
        self._embed = embed
        self._kept: OrderedDict[str, Sequence[float]] = OrderedDict()

    def of(self, text: str) -> Sequence[float]:
        """The vector of a text, of length 1; made when it is not there."""
        found = self._kept.get(text)
        if found is None:
            found = self._kept[text] = unit(self._embed(text))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(text)
        return found
