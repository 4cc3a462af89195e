"""How well a model predicts text: bits per byte, perplexity, and the divergence from a reference model.

Every text is measured separately, after an end-of-text token. Every token is predicted from those before it, the first
one from the end of text only, so every byte counts. Special tokens written out in a text are plain text.

A text longer than the context is read in windows: each begins `stride` positions after the one before it and scores
the positions that no window has scored yet. So every token is scored once and, after the first window, with at least
`context - stride` tokens to its left. Logits are float32, everything computed from them is float64.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer
from santacoder.decoding.logprobs import log_softmax
from santacoder.engine.fpenv import default_fpenv
from santacoder.errors import InvalidRequestError
from santacoder.text.tokenizer import Tokenizer

#: Positions whose logits are in memory at once: 50 MB with SantaCoder's vocabulary.
PIECE: Final = 256

#: Called with the number of tokens scored since the last call.
Progress = Callable[[int], None]


class LogitSource(Protocol):
    """The parts of a model that an evaluation needs; `SantaCoder` has them."""

    @property
    def context(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def iter_logits(
        self, prompt: Sequence[int], start: int = 0, piece: int = PIECE
    ) -> Iterable[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The cost of encoding texts with a model.

    Attributes:
        n_bytes: bytes of the texts in UTF-8.
        n_tokens: tokens of the texts, all of which were scored.
        bits: negative log2-likelihood, summed over the tokens.
    """

    n_bytes: int
    n_tokens: int
    bits: float

    @property
    def bits_per_byte(self) -> float:
        """`bits` over `n_bytes`: comparable between tokenizers, and with a compressor."""
        return self.bits / self.n_bytes

    @property
    def perplexity(self) -> float:
        """Perplexity per token: 2 to the power of `bits` over `n_tokens`."""
        return _exp(self.bits / self.n_tokens * math.log(2))

    @staticmethod
    def total(parts: Sequence[Likelihood]) -> Likelihood:
        """Add up texts: every byte counts the same, whichever text it is in."""
        return Likelihood(
            sum(part.n_bytes for part in parts),
            sum(part.n_tokens for part in parts),
            math.fsum(part.bits for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a model's predictions are from a reference's, over all positions that were scored.

    Attributes:
        n_tokens: tokens that were predicted: one position for each.
        kl: KL(reference || model) of the distributions over the vocabulary, in nats, summed.
        nats: negative log-likelihood of the tokens under the model, summed.
        reference_nats: the same under the reference.
        agreements: positions at which both find the same token the most probable (the lowest id of equals).
    """

    n_tokens: int
    kl: float
    nats: float
    reference_nats: float
    agreements: int

    @property
    def mean_kl(self) -> float:
        """Nats per position."""
        return self.kl / self.n_tokens

    @property
    def perplexity(self) -> float:
        """The model's perplexity per token."""
        return _exp(self.nats / self.n_tokens)

    @property
    def reference_perplexity(self) -> float:
        """The reference's perplexity per token."""
        return _exp(self.reference_nats / self.n_tokens)

    @property
    def perplexity_ratio(self) -> float:
        """The model's perplexity divided by the reference's; 1 means no loss."""
        return _exp((self.nats - self.reference_nats) / self.n_tokens)

    @property
    def top1_agreement(self) -> float:
        """The fraction of positions at which the most probable token is the same, 0..1."""
        return self.agreements / self.n_tokens

    @staticmethod
    def total(parts: Sequence[Divergence]) -> Divergence:
        """Add up texts: every position counts the same, whichever text it is in."""
        return Divergence(
            sum(part.n_tokens for part in parts),
            math.fsum(part.kl for part in parts),
            math.fsum(part.nats for part in parts),
            math.fsum(part.reference_nats for part in parts),
            sum(part.agreements for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """One run of the model: positions `begin` to `stop` are read, those from `scored` on are scored."""

    begin: int
    scored: int
    stop: int


def windows(positions: int, context: int, stride: int) -> Iterator[Window]:
    """Cut a text into windows of at most `context` positions; each position is scored once."""
    begin = scored = 0
    while scored < positions:
        stop = min(begin + context, positions)
        yield Window(begin, scored, stop)
        begin, scored = begin + stride, stop


def check_stride(stride: int | None, context: int) -> int:
    """Return the stride to use; None is half of the context.

    Raises:
        InvalidRequestError: it is not in 1..context.
    """
    return max(1, context // 2) if stride is None else check_integer("stride", stride, 1, context)


def measure_likelihood(
    model: LogitSource, text: str, stride: int | None = None, piece: int = PIECE, progress: Progress | None = None
) -> Likelihood:
    """Measure how many bits a text costs under a model.

    Args:
        model: a `SantaCoder`.
        text: at least one character.
        stride: positions from one window to the next, 1..context; None is half of the context.
        piece: positions whose logits are in memory at once; it does not change the result.
        progress: called after every piece.

    Raises:
        InvalidRequestError: `stride` is out of range, or as in `text_tokens`.
        NumericalError: the logits are not finite.
        ModelClosedError: the model is closed.
    """
    tokens = text_tokens(model.tokenizer, text)
    stride = check_stride(stride, model.context)
    nats: list[float] = []
    for window in windows(len(tokens) - 1, model.context, stride):
        ids = tokens[window.begin : window.stop]
        for rows in model.iter_logits(ids, window.scored - window.begin, piece):
            nats += [_nats(row, tokens[len(nats) + 1 + i], len(nats) + i) for i, row in enumerate(rows)]
            if progress:
                progress(len(rows))
    return Likelihood(len(text.encode()), len(nats), math.fsum(nats) / math.log(2))


def measure_divergence(
    model: LogitSource,
    reference: LogitSource,
    text: str,
    stride: int | None = None,
    piece: int = PIECE,
    progress: Progress | None = None,
) -> Divergence:
    """Measure how far a model's predictions for a text are from a reference's, such as its unquantized weights'.

    Args:
        model: a `SantaCoder`.
        reference: another with the same tokenizer; the smaller of the two contexts is that of the windows.
        text: at least one character.
        stride: positions from one window to the next, 1..context; None is half of the context.
        piece: positions whose logits are in memory at once; it does not change the result.
        progress: called after every piece.

    Raises:
        InvalidRequestError: the tokenizers differ, or as in `measure_likelihood`.
        NumericalError: the logits are not finite.
        ModelClosedError: a model is closed.
    """
    tokens = text_tokens(model.tokenizer, text)
    _check_comparable(model.tokenizer, reference.tokenizer, text, tokens)
    context = min(model.context, reference.context)
    stride = check_stride(stride, context)
    positions: list[_Position] = []
    for window in windows(len(tokens) - 1, context, stride):
        ids, start = tokens[window.begin : window.stop], window.scored - window.begin
        pieces = zip(model.iter_logits(ids, start, piece), reference.iter_logits(ids, start, piece), strict=True)
        for rows, expected in pieces:
            for row, truth in zip(rows, expected, strict=True):
                positions.append(_compare(row, truth, tokens[len(positions) + 1], len(positions)))
            if progress:
                progress(len(rows))
    return Divergence(
        len(positions),
        math.fsum(position.kl for position in positions),
        math.fsum(position.nats for position in positions),
        math.fsum(position.reference_nats for position in positions),
        sum(position.agrees for position in positions),
    )


def text_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the end-of-text token and the tokens of a text, in which special tokens are plain text.

    Raises:
        InvalidRequestError: the text is empty, the vocabulary cannot spell it, or it has no end-of-text token.
    """
    if tokenizer.eot_id is None:
        raise InvalidRequestError("the model has no end-of-text token to predict the first token from")
    tokens = tokenizer.encode(text, special=False)
    if not tokens:
        raise InvalidRequestError("the text is empty: there is nothing to measure")
    return [tokenizer.eot_id, *tokens]


def xz_bytes(data: bytes) -> int:
    """Return the size of `data` after `xz -9e`, headers included."""
    return len(lzma.compress(data, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME))


@dataclass(frozen=True, slots=True)
class _Position:
    kl: float
    nats: float
    reference_nats: float
    agrees: bool


def _nats(logits: NDArray[np.float32], target: int, position: int) -> float:
    """Return the negative log-likelihood of one token."""
    return -float(log_softmax(logits, position)[target])


@default_fpenv()
def _compare(logits: NDArray[np.float32], reference: NDArray[np.float32], target: int, position: int) -> _Position:
    actual, expected = log_softmax(logits, position), log_softmax(reference, position)
    return _Position(
        float((np.exp(expected) * (expected - actual)).sum()),
        -float(actual[target]),
        -float(expected[target]),
        int(logits.argmax()) == int(reference.argmax()),
    )


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _check_comparable(model: Tokenizer, reference: Tokenizer, text: str, tokens: Sequence[int]) -> None:
    if model.vocab_size != reference.vocab_size:
        raise InvalidRequestError(
            f"the model has {model.vocab_size} tokens and the reference {reference.vocab_size}: they cannot be compared"
        )
    if list(tokens) != text_tokens(reference, text):
        raise InvalidRequestError(
            "the model and the reference split the text into different tokens: they cannot be compared"
        )
