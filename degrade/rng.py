"""Addressed randomness: a draw is a hash of *which sample* and *which variable*, not the next
number of a stream.

A :class:`Key` holds one 64-bit word per sample. Folding an address into it gives the key of one
random variable:

.. math:: k' = \\mathrm{mix}(k \\oplus \\mathrm{hash}(\\text{address}))

so a draw depends only on (seed, epoch, index) and the address. There is no state to save, restore
or share, and adding a variable changes no other. Noise fields are the same idea on the device: a
32-bit hash of (key, channel, y, x).

References:
    | Fast splittable pseudorandom number generators (Steele et al., 2014) | https://doi.org/10.1145/2714064.2660195
    | Parallel random numbers: as easy as 1, 2, 3 (Salmon et al., 2011) | https://doi.org/10.1145/2063384.2063405
    | Prospecting for hash functions (Wellons, 2018) | https://nullprogram.com/blog/2018/07/31/
"""

# torch: types are partial.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import hashlib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["Key", "integer", "integers", "normal_field", "uniform_field"]

Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 1 << 17  # pixels: half a megabyte


@dataclass(frozen=True, eq=False)
class Key:
    """One 64-bit word per sample.

    Args:
        words: (B,) uint64.
    """

    words: Words

    @staticmethod
    def of(seed: int, index: ArrayLike, epoch: ArrayLike = 0) -> Key:
        """The keys of samples ``index`` of one epoch, or of an epoch each. Seeds count modulo
        2^64.

        >>> Key.of(0, [3, 4]).fold("first.jpeg.quality").uniform().shape
        (2,)

        Raises:
            TypeError: what is no integer.
            ValueError: an index or epoch of more than 64 bits, or other shapes than () and (B,).
        """
        root = _root(integer("seed", seed) % 2**64, integers("epoch", epoch).tobytes())
        return Key(_mix(root ^ _mix(integers("index", index).view(np.uint64))))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Key:
        return Key(self.words[rows])

    def fold(self, address: str | int) -> Key:
        """The keys of the variable called ``address``."""
        return Key(_mix(self.words ^ np.uint64(address_hash(address))))

    def uniform(self) -> NDArray[np.float64]:
        """(B,) uniforms in [0, 1), 53 bits."""
        return _unit(_mix(self.words))

    def uniforms(self, addresses: tuple[str, ...]) -> NDArray[np.float64]:
        """(B, P) uniforms: column j equals ``self.fold(addresses[j]).uniform()``."""
        folded = _mix(self.words[:, None] ^ address_hashes(addresses)[None])
        return _unit(_mix(folded))

    def integers(self) -> list[int]:
        """A seed in [0, 2^31) per sample, for libraries with generators of their own."""
        return [int(word) for word in _mix(self.words) >> np.uint64(33)]


def integer(name: str, value: object) -> int:
    """Return an integer of any library as Python's.

    >>> integer("seed", np.uint8(5))
    5

    Raises:
        TypeError: a value that is no integer, None for example.
    """
    if not isinstance(value, bool) and isinstance(value, SupportsIndex):
        with contextlib.suppress(TypeError):  # a tensor or an array of another type
            return operator.index(value)
    kind = type(value).__name__
    raise TypeError(f"{name} is {value!r} ({kind}); it should be an integer, such as 0")


def integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Return integers of any library as (B,) int64; one integer is an array of one.

    Raises:
        TypeError: values that are no integers.
        ValueError: integers beyond 64 bits, or more than one dimension.
    """
    found = np.atleast_1d(np.asarray(values))
    if found.size and found.dtype.kind not in "iu":
        first = found.ravel()[0]
        if found.dtype == object and all(isinstance(value, int) for value in found.ravel()):
            raise ValueError(f"{name} {first}: should fit in 64 bits")
        raise TypeError(f"{name} holds {first!r} ({found.dtype}); it should hold integers")
    if found.ndim != 1:
        raise ValueError(f"{name} has shape {found.shape}; it should be one integer, or (B,)")
    return found.astype(np.int64)


def uniform_field(
    key: Key, channels: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """White noise, uniform in (0, 1): (B, channels, height, width) float32.

    A pixel's value depends on its sample's key and on (channel, y, x) alone: not on the batch, the
    canvas or the device.
    """
    return _hash_field(key, channels, height, width, device, _uniform)


def normal_field(
    key: Key, channels: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """White standard normal noise, the quantile of :func:`uniform_field`'s hash: (B, channels,
    height, width) float32.

    .. math:: z = \\sqrt 2 \\, \\mathrm{erf}^{-1}(2u - 1), \\qquad |z| < 5.4
    """
    return _hash_field(key, channels, height, width, device, _normal)


def _uniform(words: Tensor) -> None:
    words.mul_(2.0**-32).add_(0.5).clamp_(2.0**-25, 1 - 2.0**-24)


def _normal(words: Tensor) -> None:
    # The largest 32-bit word rounds to 2^31 in float32, so the factor stays just below 2^-31:
    # erfinv(1) is infinite.
    words.mul_((1 - 2.0**-24) * 2.0**-31).erfinv_().mul_(math.sqrt(2))


# --- host hash -----------------------------------------------------------------------------------


@lru_cache(64)
def _root(seed: int, epochs: bytes) -> Words:
    """The word of a seed and int64 epochs: the same for every batch of an epoch."""
    epoch = np.frombuffer(epochs, np.uint64)
    return _mix(_mix(np.full(1, seed, np.uint64)) ^ epoch)


def _mix(words: Words) -> Words:
    """The splitmix64 finaliser: every bit of the input flips every bit of the output with
    probability near 1/2.
    """
    words = words + np.uint64(_GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _unit(words: Words) -> NDArray[np.float64]:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=4096)
def address_hash(address: str | int) -> int:
    """64 bits of BLAKE2b of an address."""
    return int.from_bytes(hashlib.blake2b(str(address).encode(), digest_size=8).digest(), "little")


@lru_cache(maxsize=256)
def address_hashes(addresses: tuple[str, ...]) -> Words:
    return np.array([address_hash(address) for address in addresses], np.uint64)


# --- device hash ---------------------------------------------------------------------------------


def _mix32(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """lowbias32; shifts are masked because signed integers shift arithmetically."""
    words = (words ^ ((words >> 16) & 0xFFFF)) * 0x7FEB352D
    words = (words ^ ((words >> 15) & 0x1FFFF)) * -0x7B935975
    return words ^ ((words >> 16) & 0xFFFF)


def line_words(
    key: Key, channels: int, height: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Two fully mixed words for each line (sample, channel, y): (B, channels height) int32.

    The line's pixels then need two rounds only, the second word entering between them, so that no
    two lines of a batch can be shifted copies of each other.
    """
    low = (key.words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)[:, None]
    high = (key.words >> np.uint64(32)).astype(np.uint32).view(np.int32)[:, None]
    first = _mix32(_mix32(_lines(channels, height) + low) ^ high)
    return first, _mix32(first + high)


@lru_cache(maxsize=256)
def _lines(channels: int, height: int) -> NDArray[np.int32]:
    lines = np.arange(channels, dtype=np.int32)[:, None] * 0x01000193 + np.arange(
        height, dtype=np.int32
    )
    return lines.ravel() * 0x61C88647


def _hash_field(
    key: Key,
    channels: int,
    height: int,
    width: int,
    device: torch.device | str,
    law: Callable[[Tensor], None],
) -> Tensor:
    """(B, C, H, W) float32: hashed words in [-2^31, 2^31], transformed in place by ``law``."""
    field = torch.empty(len(key), channels, height, width, device=device)
    on_cpu = field.device.type == "cpu"
    # On the host: for so few words NumPy is faster than a device.
    first, second = (
        torch.from_numpy(x).to(device, non_blocking=True)
        for x in line_words(key, channels, height)
    )
    columns = torch.arange(width, dtype=torch.int32, device=device) * 0x3C6EF35F
    # On a CPU a few lines at a time, so that they stay in cache through all passes.
    count = max(1, _BLOCK // width) if on_cpu else first.numel()
    parts = (x.view(-1, n).split(count) for x, n in ((first, 1), (second, 1), (field, width)))
    for one, two, out in zip(*parts, strict=True):
        words = columns + one
        # An arithmetic shift clears the top bit here: half the words are lost, but the high bits,
        # the only ones that are used, keep their full range after the multiplication.
        words ^= words >> 16
        words *= 0x7FEB352D
        words ^= two
        words ^= words >> 15
        words *= -0x7B935975
        law(out.copy_(words))
    return field
