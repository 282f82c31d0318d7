"""A sample of a stream of texts, evenly spread from its first to its last, without knowing its length before.

Every text is kept until there are ``most`` of them. Then every second one is dropped, and from there on only every
second text is kept; then every fourth, and so on. So the sample has between half of ``most`` and ``most`` texts, is
the same every time, and holds all texts of a short stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class EvenSample:
    """Keeps the beginning of every ``step``-th text of a stream.

    Args:
        most: texts that are kept.
        characters: so many are kept of each.
    """

    def __init__(self, most: int, characters: int) -> None:
        self.most = most
        self.characters = characters
        self.step = 1
        self.texts: list[str] = []
        self._count = 0  # texts of the stream so far

    def add(self, texts: Sequence[str]) -> None:
        """Take the next texts of the stream."""
        chosen = texts[-self._count % self.step :: self.step]
        self.texts += [text[: self.characters] for text in chosen]
        self._count += len(texts)
        while len(self.texts) > self.most:
            self.texts = self.texts[::2]
            self.step *= 2

    @property
    def places(self) -> NDArray[np.int64]:
        """Where in the stream, from 0, each of :attr:`texts` stood, int64 [n_texts]."""
        return self.step * np.arange(len(self.texts))
