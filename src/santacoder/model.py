"""The model as users see it: text in, text out."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from santacoder.config import Config
from santacoder.errors import InvalidRequestError, ModelClosedError
from santacoder.generation import Completion, Piece, check_context, finish, generate
from santacoder.kv_cache import KVCache
from santacoder.loading import open_transformer
from santacoder.sampling import SamplingParams, check_integer
from santacoder.tokenizer import Tokenizer
from santacoder.transformer import Transformer

#: A text, or token ids: a list, a tuple, a NumPy array.
Prompt = str | Sequence[int] | NDArray[np.integer]


class SantaCoder:
    """A loaded model. Any number of threads may use it at once; they take turns prompt by prompt and token by token.

    Attributes:
        config: the model's dimensions.
        tokenizer: from text to token ids and back.
    """

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer) -> None:
        self.config: Final[Config] = transformer.config
        self.tokenizer: Final = tokenizer
        self._engine = SharedEngine(transformer)

    @classmethod
    def load(cls, path: str | os.PathLike[str], threads: int | None = None, context: int | None = None) -> SantaCoder:
        """Load a GGUF file.

        Args:
            path: the file, of the architecture "starcoder".
            threads: how many threads compute; None takes what the machine allows.
            context: positions to use, prompt and completion together; None takes all that the model has.

        Raises:
            OSError: the file cannot be opened.
            ModelFormatError: it is not a model that can run.
            InvalidRequestError: `threads` or `context` is out of range.
            UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
        """
        return cls(*open_transformer(path, threads, context))

    def complete(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 128,
        temperature: float = 0.2,
        top_k: int = 0,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        echo: bool = False,
        ignore_eos: bool = False,
    ) -> Completion:
        """Continue `prompt`.

        Args:
            prompt: text, in which special tokens may be written out, or token ids; an empty one starts from
                the end of text.
            max_tokens: most tokens to generate, at least 1.
            temperature: 0 or more; 0 always takes the most probable token.
            top_k: choose among the k most probable tokens; 0 is off.
            top_p: choose among the fewest tokens that hold this part of the probability; 1 is off.
            min_p: choose among tokens with at least this part of the largest probability; 0 is off.
            repetition_penalty: 0.01..100; above 1 discourages tokens of the prompt and the text so far.
            frequency_penalty: -2..2, taken off a token's logit for each time it was generated.
            presence_penalty: -2..2, taken off a token's logit if it was generated.
            logit_bias: -100..100 by token id, added to its logit.
            stop: a text, or several, that ends the completion and is not part of it.
            seed: 0..2^64-1 makes the completion repeatable; None draws one, which the completion names.
            echo: begin the completion's text with the prompt.
            ignore_eos: go on after an end of text, which becomes a token like any other.

        Raises:
            InvalidRequestError: an argument is of a wrong type or out of range.
            ContextOverflowError: the prompt and max_tokens do not fit in the context.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        return finish(self._start(prompt, SamplingParams.pick(locals())))

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 128,
        temperature: float = 0.2,
        top_k: int = 0,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        echo: bool = False,
        ignore_eos: bool = False,
    ) -> Generator[Piece, None, Completion]:
        """Continue `prompt` piece by piece; the texts of the pieces join to that of `complete`.

        Arguments and errors are those of `complete`; they are checked at once. Closing the generator ends the
        work. At its end it returns the completion, as StopIteration's value.
        """
        return self._start(prompt, SamplingParams.pick(locals()))

    def infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Literal["psm", "spm"] = "psm",
        max_tokens: int = 128,
        temperature: float = 0.2,
        top_k: int = 0,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        echo: bool = False,
        ignore_eos: bool = False,
    ) -> Completion:
        """Write what belongs between `prefix` and `suffix`.

        Both are plain text, even where they spell special tokens. `mode` is the order that the model sees,
        and SantaCoder was trained on both: "psm" is prefix, suffix, middle; "spm" is suffix, prefix, middle.
        `echo` begins the completion's text with the prefix; all other arguments are as in `complete`.

        Raises:
            InvalidRequestError: also when the model has no fill-in-the-middle tokens.
            ContextOverflowError: prefix, suffix and max_tokens do not fit in the context.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        params = SamplingParams.pick(locals())
        tokens = infill_prompt(self.tokenizer, prefix, suffix, mode)
        return finish(generate(self._engine, self.tokenizer, tokens, params, prefix if echo else ""))

    def logits(self, prompt: Prompt) -> NDArray[np.float32]:
        """The model's raw output for every position of a prompt, which is as in `complete`.

        Returns:
            (T, V) float32: row t says what may follow the tokens 0..t.

        Raises:
            InvalidRequestError: the prompt is no text and no list of ids within the vocabulary.
            ContextOverflowError: it does not fit in the context.
            ModelClosedError: the model is closed.
        """
        tokens = prompt_tokens(self.tokenizer, prompt)
        check_context(len(tokens), 0, self._engine.context)
        return self._engine.forward(tokens, self._engine.new_cache(), "all")

    def iter_logits(self, prompt: Prompt, start: int = 0, piece: int = 256) -> Iterator[NDArray[np.float32]]:
        """The rows of `logits` from position `start` on, in memory for `piece` of them.

        Arguments are checked at once; nothing runs before the first rows are asked for.

        Returns:
            (N, V) float32, again and again: N is `piece`, and at the end what is left.

        Raises:
            InvalidRequestError: `start` is no position of the prompt, `piece` is not positive, or as in `logits`.
            ContextOverflowError: the prompt does not fit in the context.
            ModelClosedError: the model is closed.
        """
        tokens = prompt_tokens(self.tokenizer, prompt)
        check_context(len(tokens), 0, self._engine.context)
        start = check_integer("start", start, 0, len(tokens) - 1)
        return self._iter_logits(tokens, start, check_integer("piece", piece, 1, None))

    @property
    def context(self) -> int:
        """Positions that prompt and completion share."""
        return self._engine.context

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return self._engine.transformer.threads

    @property
    def isa(self) -> str:
        """The instruction set of the kernels."""
        return self._engine.transformer.isa

    @property
    def weights_bytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self._engine.transformer.weights_bytes

    @property
    def tensor_types(self) -> Mapping[str, int]:
        """How many tensors the file held of each type."""
        return self._engine.transformer.tensor_types

    def close(self) -> None:
        """Release the memory; requests of other threads end with ModelClosedError. Closing twice is fine."""
        self._engine.close()

    def __enter__(self) -> SantaCoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        config = self.config
        name = config.name or config.architecture
        size = f"{config.block_count} layers of {config.embedding_length}, {config.vocab_size} tokens"
        state = "closed" if self._engine.closed else f"{self.threads} threads, {self.isa}"
        return f"<SantaCoder {name!r}: {size}, {state}>"

    def _iter_logits(self, tokens: Sequence[int], start: int, piece: int) -> Iterator[NDArray[np.float32]]:
        cache = self._engine.new_cache()
        if start:
            self._engine.forward(tokens[:start], cache, "last")
        for first in range(start, len(tokens), piece):
            yield self._engine.forward(tokens[first : first + piece], cache, "all")

    def _start(self, prompt: Prompt, params: SamplingParams) -> Generator[Piece, None, Completion]:
        tokens = prompt_tokens(self.tokenizer, prompt)
        echo = ""
        if params.echo:
            echo = prompt if isinstance(prompt, str) else self.tokenizer.decode(tokens if len(prompt) else ())
        return generate(self._engine, self.tokenizer, tokens, params, echo)


class SharedEngine:
    """A transformer that many threads may call: one step of one request at a time, until it is closed."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer: Transformer | None = transformer
        self.lock = threading.Lock()
        _ENGINES.add(self)

    @property
    def transformer(self) -> Transformer:
        """The transformer.

        Raises:
            ModelClosedError: the model is closed.
        """
        if self._transformer is None:
            raise ModelClosedError("the model is closed")
        return self._transformer

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._transformer is None

    @property
    def context(self) -> int:
        """Positions that a cache has room for."""
        return self.transformer.context

    def new_cache(self) -> KVCache:
        """An empty cache for one sequence."""
        return self.transformer.new_cache()

    def forward(
        self, tokens: Sequence[int], cache: Any, outputs: Literal["last", "all"] = "last"
    ) -> NDArray[np.float32]:
        """See `Transformer.forward`."""
        with self.lock:
            return self.transformer.forward(tokens, cache, outputs)

    def close(self) -> None:
        """Let go of the transformer as soon as no thread is in it."""
        with self.lock:
            self._transformer = None


_ENGINES: Final[weakref.WeakSet[SharedEngine]] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child the thread that held a lock is gone, and nobody would release it."""
    for engine in _ENGINES:
        engine.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def prompt_tokens(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """The ids (T,) of a prompt, at least one: an empty prompt is the end of the text before.

    Raises:
        InvalidRequestError: it is no text and no sequence of ids within the vocabulary, or it is empty and
            the model has no end of text.
    """
    if isinstance(prompt, str):
        tokens = tokenizer.encode(prompt)
    elif isinstance(prompt, np.ndarray) and prompt.ndim == 1 and prompt.dtype.kind in "iu":
        tokens = [tokenizer.check_id(token) for token in prompt.tolist()]
    elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes | bytearray | memoryview):
        tokens = [_checked(tokenizer, token) for token in prompt]
    else:
        kind = type(prompt).__name__
        raise InvalidRequestError(f"the prompt is a {kind}, but it must be a text or a list of token ids")
    if tokens:
        return tokens
    if tokenizer.eot_id is None:
        raise InvalidRequestError("the prompt is empty, and the model has no end-of-text token to start from")
    return [tokenizer.eot_id]


def _checked(tokenizer: Tokenizer, token: object) -> int:
    if isinstance(token, bool):
        raise InvalidRequestError(f"a token id is {token}, but it must be an integer")
    return tokenizer.check_id(token)  # type: ignore[arg-type]


def infill_prompt(tokenizer: Tokenizer, prefix: str, suffix: str, mode: str) -> list[int]:
    """The ids that ask for what is between prefix and suffix.

    Raises:
        InvalidRequestError: an unknown mode, or a model without fill-in-the-middle tokens.
    """
    if mode not in ("psm", "spm"):
        raise InvalidRequestError(f"mode is {mode!r}, but it must be 'psm' or 'spm'")
    before, after, middle = tokenizer.fim_prefix_id, tokenizer.fim_suffix_id, tokenizer.fim_middle_id
    if before is None or after is None or middle is None:
        raise InvalidRequestError(
            "this model has no fill-in-the-middle tokens, so it cannot infill: all of SantaCoder's "
            "checkpoints but no-fim have them"
        )
    head = tokenizer.encode(prefix, special=False)
    tail = tokenizer.encode(suffix, special=False)
    if mode == "psm":
        return [before, *head, after, *tail, middle]
    return [before, after, *tail, middle, *head]
