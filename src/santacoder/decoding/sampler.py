"""Choosing the next token.

The steps and their order, after those of a `logits_processor` (hooks.py): `repetition_penalty` over prompt and
generated tokens (Keskar et al. 2019, "CTRL", in the form of transformers); `frequency_penalty` and `presence_penalty`
over generated tokens (as OpenAI defines them); `logit_bias`; a ban on tokens that are never sampled, unless
`any_token`. Then temperature 0 takes the largest logit (ties: the lowest id). Any other temperature divides the logits,
and top-k, top-p and min-p filter the softmax, in this order:

- `top_k` keeps the k largest logits (ties: lower ids first); 0 is off.
- `top_p` keeps the fewest most probable tokens that add up to this fraction of what top-k left, always at least one;
  1 is off (Holtzman et al. 2020).
- `min_p` drops tokens that have less than this fraction of the largest probability; 0 is off (Nguyen et al. 2024).

Random bits come from Philox, a counter-based generator (Salmon et al. 2011): its key is the seed, its counter the
index of the sample and the token's position in the sequence. So a token depends only on these and its logits, never
on what ran before or beside it. A completion that goes on from another's tokens draws what the other would have
drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.decoding.options import SamplingParams
from santacoder.engine.fpenv import default_fpenv
from santacoder.engine.isa import active
from santacoder.errors import NumericalError
from santacoder.text.token_ids import TokenIds
from santacoder.text.token_table import Agreeing


class Workspace(threading.local):
    """The memory that `sc_sample` works in: one for each thread, for all its samples."""

    def __init__(self) -> None:
        self.memory = ffi.from_buffer(np.empty(-(-lib.sc_sample_bytes() // 8), np.uint64))


_workspace = Workspace()


class Sampler:
    """Chooses the tokens of one sample, one after the other."""

    @default_fpenv()
    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        never_sampled: Sequence[int],
        seed: int,
        sample_index: int = 0,
        prompt: Sequence[int] | TokenIds = (),
    ) -> None:
        """Prepare for logits of `vocab_size` values that follow `prompt`; `check_tokens` has checked the parameters."""
        self._params = params
        self._random = RandomBits(seed, sample_index)
        self._position = len(prompt)
        self._isa = active()
        self._banned = np.asarray(never_sampled, dtype=np.intp)
        biases = params.biases
        self._bias_ids = np.array(list(biases), dtype=np.intp)
        self._biases = np.array(list(biases.values()), dtype=np.float32)
        size = vocab_size if params.has_penalties else 0
        self._seen = np.zeros(size, dtype=np.bool_)  # in the prompt or generated
        if params.repetition_penalty != 1.0:
            self._seen[np.asarray(prompt, dtype=np.int32)] = True
        self._counts = np.zeros(size, dtype=np.float32)  # generated

    def next(self, logits: NDArray[np.float32], agreeing: Agreeing | None = None) -> int:
        """Choose the token for the next position from its logits (V,), which are contiguous and are overwritten.

        With `agreeing`, one of these tokens.

        Raises:
            NumericalError: a logit is NaN or +infinity, or none is left.
        """
        [token] = next_tokens([self], logits, agreeing)
        return token

    def _why_none(self, logits: NDArray[np.float32], agreeing: Agreeing | None) -> NumericalError:
        if (logits == -np.inf).all():
            which = "" if agreeing is None else " that begin as the text that token healing took back"
            return NumericalError(f"all tokens are banned at position {self._position}{which}")
        return NumericalError(f"the logits of position {self._position} hold a NaN or an infinity")

    def follow(self, token: int) -> None:
        """Take a token as chosen for the next position."""
        self._position += 1
        if self._params.has_penalties:
            self._seen[token] = True
            self._counts[token] += 1

    def _adjust(self, logits: NDArray[np.float32]) -> None:
        """Apply penalties, biases and bans, in place."""
        params = self._params
        if params.repetition_penalty != 1.0:
            penalty = np.float32(params.repetition_penalty)
            ids = np.flatnonzero(self._seen)
            values = logits[ids]
            logits[ids] = np.where(values > 0, values / penalty, values * penalty)
        if params.frequency_penalty or params.presence_penalty:
            ids = np.flatnonzero(self._counts > 0)
            once = np.float32(params.presence_penalty)
            logits[ids] -= self._counts[ids] * np.float32(params.frequency_penalty) + once
        if self._bias_ids.size:
            logits[self._bias_ids] += self._biases
        logits[self._banned] = -np.inf

    def _choose(self, logits: NDArray[np.float32], random: list[int]) -> list[int]:
        """Return a token for each of so many random bits; an empty list if none can be chosen."""
        params = self._params
        n = logits.size
        logits_c = ffi.from_buffer("float[]", logits, require_writable=True)
        if params.temperature == 0:
            token = lib.sc_argmax(self._isa, logits_c, n)
            return [token] * len(random) if token >= 0 else []
        tokens_c = ffi.new("int32_t[]", len(random))
        drawn = lib.sc_sample(
            self._isa,
            logits_c,
            n,
            params.temperature,
            min(params.top_k, n),
            params.top_p,
            params.min_p,
            ffi.new("uint64_t[]", random),
            len(random),
            tokens_c,
            _workspace.memory,
        )
        return list(tokens_c) if drawn else []


@default_fpenv()
def next_tokens(alike: Sequence[Sampler], logits: NDArray[np.float32], agreeing: Agreeing | None = None) -> list[int]:
    """Choose a token for each of several samplers that differ in seed and index of the sample only, as `next` does.

    The logits (V,) are adjusted and filtered once.

    Raises:
        NumericalError: a logit is NaN or +infinity, or none is left.
    """
    first = alike[0]
    first._adjust(logits)
    if agreeing is not None:
        _restrict(logits, agreeing)
    tokens = first._choose(logits, [sampler._random.at(sampler._position) for sampler in alike])
    if not tokens:
        raise first._why_none(logits, agreeing)
    for sampler, token in zip(alike, tokens, strict=True):
        sampler.follow(token)
    return tokens


def _restrict(logits: NDArray[np.float32], agreeing: Agreeing) -> None:
    """Make all logits -infinity but those of tokens that agree."""
    shorter = logits[agreeing.shorter]
    logits_c = ffi.from_buffer("float[]", logits, require_writable=True)
    ranks_c = ffi.from_buffer("int32_t[]", agreeing.ranks)
    lib.sc_restrict(logits_c, ranks_c, logits.size, agreeing.first, agreeing.last)
    logits[agreeing.shorter] = shorter


class RandomBits:
    """64 uniform bits for each token of one sample: a counter-based generator whose counter is the position."""

    def __init__(self, seed: int, sample_index: int) -> None:
        self._philox = Philox(key=seed, counter=[0, 0, sample_index, 0])
        self._state = self._philox.state  # setting it takes a tenth of the time that a new generator takes

    def at(self, position: int) -> int:
        """Return the bits of one position; calls before do not matter."""
        self._state["state"]["counter"][1] = position
        self._philox.state = self._state
        return int(self._philox.random_raw())
