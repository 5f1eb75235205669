r"""Random draws with an address: (seed, sample number, purpose).

A draw depends on its address and on nothing else: sample 17 is the same alone, in any batch, on
any number of workers and on any device. The counter-based generator Philox4x32-10 makes this
exact: its 64-bit key is a hash of the seed and the purpose, its 128-bit counter holds the sample
number and the place within the sample, so that no two streams can ever overlap.

Reference: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011);
normals by Box and Muller (1958).
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_PIECE = 16384  # blocks of the generator at a time
# as arrays without an axis, which NumPy takes up faster than numbers
_FIRST, _SECOND, _HALF, _LOWER = (np.array(number, dtype=np.uint64) for number in (*_MULTIPLIERS, 32, _WORD))
_KEY_STEPS = np.arange(_ROUNDS, dtype=np.uint64)[:, None] * np.array(_WEYL, dtype=np.uint64)
_TWENTY = np.array((1023 + 20) << 52, dtype=np.uint64)  # the bits of the float64 number 2^20


@dataclass(frozen=True)
class Seeds:
    """The addresses of one batch of samples.

    ``samples`` are the sample numbers, int64 of shape (batch,); ``purpose`` is the path that tells
    draws of one sample apart. ``seeds.at("noise", 3)`` is a further address; the same address always
    gives the same draw, so a caller must use a new purpose for each independent one.
    """

    seed: int
    samples: Tensor
    purpose: tuple[str | int, ...] = ()

    @classmethod
    def range(cls, seed: int, count: int, start: int = 0, device: torch.device | str | None = None) -> "Seeds":
        """Addresses of the samples ``start`` to ``start + count - 1``."""
        if count < 0 or start < 0:
            raise InputError(f"sample numbers count from 0: seen count {count}, start {start}")
        return cls(int(seed), torch.arange(start, start + count, device=device))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: slice | Tensor) -> "Seeds":
        return replace(self, samples=self.samples[index])

    def at(self, *purpose: str | int) -> "Seeds":
        """The same samples, for a further purpose."""
        return replace(self, purpose=self.purpose + purpose)

    def to(self, device: torch.device | str) -> "Seeds":
        """The same addresses, their numbers on another device."""
        return replace(self, samples=self.samples.to(device))

    @property
    def key(self) -> tuple[int, int]:
        """The two 32-bit words that the generator is keyed with."""
        text = "\x1f".join(
            [str(self.seed), *(f"{'str' if isinstance(part, str) else 'int'}:{part}" for part in self.purpose)]
        )
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def words(self, count: int) -> Tensor:
        """``count`` random 32-bit words a sample, as int64 of shape (batch, count)."""
        blocks = -(-count // 4)
        if self.samples.is_cpu:
            drawn = np.empty((len(self), blocks, 2, 2), dtype=np.int64)
            for rows, columns, words in self._pieces(blocks):
                drawn[rows, columns] = words.transpose(2, 3, 1, 0)
            return torch.from_numpy(drawn).flatten(1)[:, :count]
        block = torch.arange(blocks, device=self.samples.device).expand(len(self), -1)
        sample = self.samples[:, None].expand(-1, blocks)
        counter = (block & _WORD, block >> 32, sample & _WORD, (sample >> 32) & _WORD)
        return torch.stack(philox(counter, self.key), dim=-1).flatten(1)[:, :count]

    def _pieces(self, blocks: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """The generator's blocks of four words, so many samples and blocks at a time as a processor's cache holds.

        The words of a piece are uint64 of shape (2, 2, samples, blocks); word k of a block is at [k % 2, k // 2].
        """
        sample, block = self.samples.numpy().astype(np.uint64)[:, None], np.arange(blocks, dtype=np.uint64)
        key = np.array(self.key, dtype=np.uint64)
        width = max(1, min(blocks, _PIECE))
        for top in range(0, len(sample), _PIECE // width):
            rows = slice(top, top + _PIECE // width)
            for left in range(0, blocks, width):
                columns = slice(left, left + width)
                numbers, places = sample[rows], block[columns]
                counter = (places & _LOWER, places >> _HALF, numbers & _LOWER, numbers >> _HALF)
                yield rows, columns, philox_on_cpu(counter, key, (len(numbers), len(places)))

    def uniform(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float64) -> Tensor:
        """Uniform on the open interval (0, 1), of shape (batch, *shape)."""
        count = math.prod(shape)
        # one bit less than the dtype's precision: with half a unit added, the largest is still below one
        bits = round(-math.log2(torch.finfo(dtype).eps))
        if bits > 32:
            words = self.words(2 * count)
            drawn = ((words[:, 0::2] >> 6) << 26) + (words[:, 1::2] >> 6)
        else:
            drawn = self.words(count) >> (32 - bits)
        return drawn.double().add_(0.5).mul_(2.0**-bits).to(dtype).reshape(len(self), *shape)

    def normal(self, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal, of shape (batch, *shape); computed in float64 and rounded once."""
        if dtype != torch.float64 and self.samples.is_cpu:
            return self._normal_on_cpu(shape, dtype)
        count = math.prod(shape)
        pairs = -(-count // 2)
        if dtype == torch.float64:
            first, second = self.uniform((2, pairs)).unbind(1)
        else:
            words = self.words(2 * pairs).reshape(len(self), pairs, 2).double().add_(0.5).mul_(2.0**-32)
            first, second = words.unbind(-1)
        radius = first.log().mul_(-2).sqrt_()
        angle = second * (2 * math.pi)
        drawn = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1).flatten(1)[:, :count]
        return drawn.reshape(len(self), *shape).to(dtype)

    def _normal_on_cpu(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The same to the bit, by pieces and with fewer passes over them."""
        batch, count = len(self), math.prod(shape)
        blocks = -(-count // 4)
        drawn = np.empty((batch, blocks, 2, 2), dtype=np.float32 if dtype == torch.float32 else np.float64)
        for rows, columns, words in self._pieces(blocks):
            words |= _TWENTY  # as the lowest bits of a number from 2^20 to 2^21, a word counts 2^-32 of it
            numbers = words.view(np.float64)
            numbers -= 2.0**20 - 2.0**-33  # which leaves (word + 1/2) 2^-32
            radius, angle = numbers
            torch.from_numpy(radius).log_()
            radius *= -2
            np.sqrt(radius, out=radius)
            angle *= 2 * math.pi
            turn = torch.from_numpy(angle)
            target = drawn[rows, columns].transpose(2, 0, 1, 3)
            np.multiply(radius, turn.cos().numpy(), out=target[..., 0], casting="same_kind")
            np.multiply(radius, turn.sin_().numpy(), out=target[..., 1], casting="same_kind")
        return torch.from_numpy(drawn.reshape(batch, 4 * blocks)[:, :count].reshape(batch, *shape)).to(dtype)

    def normal_like(self, tensor: Tensor) -> Tensor:
        """Standard normal of the shape, dtype and device of ``tensor``, whose batch must be this one."""
        if len(tensor) != len(self):
            raise InputError(f"{len(self)} seeds for a batch of {len(tensor)} samples")
        seeds = self if self.samples.device == tensor.device else self.to(tensor.device)
        return seeds.normal(tensor.shape[1:], tensor.dtype)

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> Tensor:
        """Integers from ``low`` to ``high - 1``, uniform to within 2^-52, int64 of shape (batch, *shape)."""
        if high <= low:
            raise InputError(f"integers from low to high - 1 need low < high; seen low {low} and high {high}")
        return (low + (self.uniform(shape) * (high - low)).floor().long()).clamp(max=high - 1)

    def generator(self) -> np.random.Generator:
        """One NumPy generator for a draw that belongs to the whole run (a permutation, a bootstrap)."""
        return np.random.Generator(np.random.Philox(key=list(self.key)))


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10 of four int64 tensors that hold 32-bit words; returns four such tensors."""
    # the words 0 and 2, which are multiplied, and 1 and 3, which are not, go two by two: half as many operations
    multiplied, added = torch.stack((counter[0], counter[2])), torch.stack((counter[1], counter[3]))
    pair = (2,) + (1,) * counter[0].ndim
    multipliers = multiplied.new_tensor(_MULTIPLIERS).reshape(pair)
    low, high = key
    keys = []
    for _ in range(_ROUNDS):
        keys.append((low, high))
        low, high = (low + _WEYL[0]) & _WORD, (high + _WEYL[1]) & _WORD
    for round_key in multiplied.new_tensor(keys).reshape(_ROUNDS, *pair):
        product = multiplied * multipliers
        # the 64-bit product wraps into the sign bit; shift and mask recover its upper word
        upper = (product >> 32).bitwise_and_(_WORD).flip(0)
        multiplied = upper.bitwise_xor_(added).bitwise_xor_(round_key)
        added = product.bitwise_and_(_WORD).flip(0)
    return multiplied[0], added[0], multiplied[1], added[1]


def philox_on_cpu(counter: Sequence[np.ndarray], key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The same of four uint64 arrays that broadcast to ``shape``, in NumPy, whose words without sign are faster.

    ``key`` is uint64 of shape (2, ...): two words, or for each place two that broadcast to ``shape``. Returns uint64
    of shape (2, 2, *shape), with word k at [k % 2, k // 2].
    """
    words = np.empty((2, 2, *shape), dtype=np.uint64)
    for number, part in enumerate(counter):
        words[number % 2, number // 2] = part
    (zeroth, second), (first, third) = words
    upper, lower = np.empty((2, *shape), dtype=np.uint64)
    round_keys = (key + _KEY_STEPS.reshape(_ROUNDS, 2, *(1,) * (key.ndim - 1))) & _LOWER
    for number in range(_ROUNDS):
        np.multiply(second, _SECOND, out=upper)
        np.multiply(zeroth, _FIRST, out=lower)
        np.right_shift(upper, _HALF, out=zeroth)
        zeroth ^= first
        zeroth ^= round_keys[number, 0, ...]
        np.bitwise_and(upper, _LOWER, out=first)
        np.right_shift(lower, _HALF, out=second)
        second ^= third
        second ^= round_keys[number, 1, ...]
        np.bitwise_and(lower, _LOWER, out=third)
    return words
