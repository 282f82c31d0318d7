"""The name of a mixture, taken apart: the kind, the percentage and the exponent of ``top-70^0.5``.

This is the one place that knows the grammar::

    uniform   loss-reweight                      no exponent
    proportional   proportional^E                rows, or rows^E
    reweight       reweight^E                    α, or α^E
    top-P          top-P^E                       the selected tasks equally, or by α^E
    bottom-P       bottom-P^E

E below 1 evens the shares out, and E above 1 sharpens them. A mixture has one spelling, since it names folders. See
docs/decisions.md, exponents-in-names.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from reprlib import Repr

from tdro.errors import UserError

KINDS = ("uniform", "proportional", "top", "bottom", "reweight", "loss-reweight", "gain")  # as tables list them
SELECTIONS = ("top", "bottom")
LARGEST_EXPONENT = 10.0
GRAMMAR = (
    "uniform, proportional, reweight, loss-reweight, gain, top-P, bottom-P; "
    "with an exponent: proportional^E, reweight^E, gain^E, top-P^E, bottom-P^E"
)
_OTHER_WORDS = {"size": "proportional", "sizes": "proportional", "rows": "proportional"} | dict.fromkeys(
    ("alpha", "α", "weights"), "reweight"
)
# Also what people write instead: top70, top-70%, top-70-0.5, reweight**0.5, size^.5
_LOOSE = re.compile(r"([a-zα]+(?:[-_ ][a-z]+)?)[-_ ]*([\d.]+)?\s*%?(?:\s*(?:\^|\*\*|[-_ ])\s*([\d.]+))?", re.IGNORECASE)
_quoted = Repr()
_quoted.maxstring = 60


@dataclass(frozen=True)
class MixtureName:
    """A mixture by its name; ``str()`` gives the name back.

    Attributes:
        kind: one of :data:`KINDS`.
        percent: P of ``top-P`` and ``bottom-P``; None for the others.
        exponent: E; None if the name has none.
    """

    kind: str
    percent: float | None = None
    exponent: float | None = None

    def __str__(self) -> str:
        percent = "" if self.percent is None else f"-{_number(self.percent)}"
        return f"{self.kind}{percent}" + ("" if self.exponent is None else f"^{_number(self.exponent)}")

    @property
    def selects(self) -> bool:
        """Whether it leaves tasks out."""
        return self.kind in SELECTIONS

    @property
    def uses_gain(self) -> bool:
        """Whether it is by the weights of transfer gain."""
        return self.kind == "gain"

    @property
    def uses_alpha(self) -> bool:
        """Whether a model that is trained on it depends on the weights that tDRO learns."""
        return self.selects or self.kind in ("reweight", "loss-reweight")

    @property
    def samples_by_weights(self) -> bool:
        """Whether the tasks' shares of the rows are known only after weights have been learned."""
        return self.selects or self.kind in ("reweight", "gain")


def parse_mixture(name: str) -> MixtureName:
    """Take the name of a mixture apart.

    Raises:
        UserError: no such mixture, another spelling of one, or an impossible number; says what is right.
    """
    found = _read_loosely(name)
    if found is None:
        raise UserError(f"unknown mixture {_quoted.repr(name)}; known: {GRAMMAR}")
    if found.percent is not None and not 0 < found.percent <= 100:
        raise UserError(
            f"{_quoted.repr(name)} is impossible: P of top-P and bottom-P is a percentage above 0 and at most 100"
        )
    if found.exponent is not None and not 0 < found.exponent <= LARGEST_EXPONENT:
        plain = MixtureName(found.kind, found.percent)
        zero = "" if found.exponent else "; 0 would make all shares equal"
        raise UserError(
            f"{_quoted.repr(name)} is impossible: the exponent E of '{plain}^E' is a number above 0 and at most "
            f"{LARGEST_EXPONENT:g}{zero}"
        )
    if found.exponent is not None and found.kind in ("uniform", "loss-reweight"):
        raise UserError(
            f"{_quoted.repr(name)} is impossible: {found.kind} samples all tasks equally, so it has no exponent; "
            f"did you mean '{found.kind}'?"
        )
    if found.exponent == 1 and not found.selects:
        raise UserError(f"mixture {_quoted.repr(name)}: an exponent of 1 changes nothing; write '{found.kind}'")
    if str(found) != name:
        raise UserError(f"unknown mixture {_quoted.repr(name)}; did you mean '{found}'?")
    return found


def known_mixture(name: str) -> MixtureName | None:
    """As :func:`parse_mixture`; None for a name that is no mixture, such as ``untrained`` or another tool's model."""
    try:
        return parse_mixture(name)
    except UserError:
        return None


def _read_loosely(text: str) -> MixtureName | None:
    """The mixture that a text most likely means, however it is spelt; its numbers may be impossible."""
    match = _LOOSE.fullmatch(text.strip())
    kind = _nearest_kind(match[1]) if match else None
    if match is None or kind is None:
        return None
    try:
        numbers = [float(part) for part in match.groups()[1:] if part is not None]
    except ValueError:  # as in 1.2.3
        return None
    if kind not in SELECTIONS:
        return MixtureName(kind, None, *numbers) if len(numbers) < 2 else None
    return MixtureName(kind, *numbers) if match[2] else None


def _nearest_kind(word: str) -> str | None:
    """The kind of mixture that is spelt most like a word."""
    word = word.lower().replace("_", "-").replace(" ", "-")
    if word in _OTHER_WORDS:
        return _OTHER_WORDS[word]
    near = difflib.get_close_matches(word, KINDS, n=1, cutoff=0.75)
    return near[0] if near else None


def _number(value: float) -> str:
    """The shortest decimals that stand for a number: ``70``, ``0.5``."""
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")
