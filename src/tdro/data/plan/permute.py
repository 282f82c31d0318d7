"""Random permutations that take no memory: the place of any row is computed by itself.

``permute(i, n, key)`` is a permutation of 0…n-1 for each key. It is a four-round Feistel network on the smallest even
number of bits that covers n, applied again until the result is below n (at most four times on average). So a thousand
tasks of a million rows are shuffled without storing an index, and any step can be read without those before it. See
docs/decisions.md, computed-permutations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UInts = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_ROUNDS = 4


def mix(*parts: int | NDArray) -> UInts:
    """Hash integers (scalars or arrays that broadcast) to uniform 64-bit ones, by SplitMix64's finaliser."""
    state: UInts = np.asarray(0x243F6A8885A308D3, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MULTIPLIERS[0]
            state = (state ^ (state >> np.uint64(27))) * _MULTIPLIERS[1]
            state = state ^ (state >> np.uint64(31))
    return state


def permute(index: NDArray, size: NDArray | int, key: NDArray | int) -> NDArray[np.int64]:
    """Where each index goes in a random permutation of ``range(size)``. The three arguments broadcast.

    Args:
        index: integers with 0 <= index < size.
        size: how many there are to shuffle, at least 1.
        key: picks the permutation. The same key and size always give the same one.

    Example::

        permute(np.arange(4), 4, key=7)  # the numbers 0 to 3 in another order
    """
    index, size, key = np.broadcast_arrays(np.asarray(index), np.asarray(size), np.asarray(key))
    sizes = size.astype(np.uint64)
    bits = np.ceil(np.log2(np.maximum(size, 2).astype(np.float64)) / 2).astype(np.uint64)
    keys = key.astype(np.uint64)
    value = _encrypt(index.astype(np.uint64), bits, keys)
    outside = value >= sizes
    while outside.any():
        value[outside] = _encrypt(value[outside], bits[outside], keys[outside])
        outside = value >= sizes
    return value.astype(np.int64)


def _encrypt(value: UInts, bits: UInts, keys: UInts) -> UInts:
    """One pass of the Feistel network over two halves of ``bits`` bits each. It permutes 0…4**bits - 1."""
    mask = (np.uint64(1) << bits) - np.uint64(1)
    left, right = value >> bits, value & mask
    for round_number in range(_ROUNDS):
        left, right = right, left ^ (mix(keys, round_number, right) & mask)
    return (left << bits) | right
