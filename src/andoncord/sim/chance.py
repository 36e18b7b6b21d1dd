"""Chance that belongs to us: the same seed and the same labels give the same draws, in every process and on every machine."""

from collections.abc import Sequence
from typing import TypeVar

from andoncord.kernel.canon import digest

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Chance:
    """A SplitMix64 stream named by a seed and labels.

    Streams with different labels do not share draws, so that adding an agent leaves the others as they were.
    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    >>> first, second = Chance(7, "support"), Chance(7, "support")
    >>> first.below(1000) == second.below(1000), first.child("run-1").unit() == second.child("run-1").unit()
    (True, True)
    """

    __slots__ = ("_labels", "_seed", "_state")

    def __init__(self, seed: int, *labels: str) -> None:
        self._seed = seed
        self._labels = labels
        self._state = int(digest("\x1f".join((str(seed), *labels)).encode())[:16], 16)

    def child(self, *labels: str) -> "Chance":
        """A stream of its own; it does not depend on how many draws this one has made."""
        return Chance(self._seed, *self._labels, *labels)

    def bits(self) -> int:
        """64 fresh bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def unit(self) -> float:
        """A number in [0, 1)."""
        return (self.bits() >> 11) / (1 << 53)

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        return int(self.unit() * bound)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def happens(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, all equally likely."""
        return choices[self.below(len(choices))]
