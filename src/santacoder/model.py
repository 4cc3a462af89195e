"""The model as users see it: they pass in text and get text back."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args, overload

import numpy as np
from numpy.typing import NDArray

from santacoder._util.progress import progress_bar
from santacoder._util.validation import check_integer, invalid_argument
from santacoder.batching.capacity import Capacity
from santacoder.batching.exclusive_steps import ExclusiveSteps
from santacoder.batching.infill_requests import Gap, GapForm, Gaps, InfillRequests, check_gap, check_gaps
from santacoder.batching.loop_threads import AsyncRunner
from santacoder.batching.request_stream import OnError, RequestStream
from santacoder.batching.scheduler import Scheduler
from santacoder.batching.session import Session
from santacoder.conversion.find_model import find_model
from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.context_limit import check_context, check_scored
from santacoder.decoding.options import SamplingOptions, with_options
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.engine.loading import open_transformer
from santacoder.engine.transformer import Outputs, Transformer
from santacoder.errors import ContextOverflowError, InvalidRequestError, SantaCoderError
from santacoder.gguf.config import Config
from santacoder.prefixes.place import ModelPrefixes, find_place
from santacoder.project.index import ProjectIndex
from santacoder.requests import (
    Prompt,
    Prompts,
    Request,
    check_each,
    check_infill,
    check_request,
    each_prompt,
    new_sequences,
    prompt_ids,
    sampling_params,
)
from santacoder.scoring.score import Score, score_sequences
from santacoder.sources.model_name import parse_name
from santacoder.sources.packed import packed_cache
from santacoder.text.infilling import Mode
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SantaCoder(InfillRequests, Capacity):
    """A loaded model. Any number of threads may use it at once: their requests go through the model together.

    Attributes:
        config: the model's dimensions.
        tokenizer: turns text into token ids and back.
    """

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, prefixes: ModelPrefixes | None = None) -> None:
        stored = None if prefixes is None else prefixes.open(transformer)
        self.config: Final[Config] = transformer.config
        self.tokenizer: Final = tokenizer
        self._scheduler = Scheduler(transformer, stored=stored)
        self._runner = AsyncRunner(self._scheduler)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        threads: int | None = None,
        context: int | None = None,
        *,
        packed: bool | None = False,
    ) -> SantaCoder:
        """Load a model by a name that `santacoder.load` takes; that has more arguments, and the same errors."""
        place, cache, file = find_place(), packed_cache(packed), find_model(parse_name(path))
        prefixes = None if place is None else place.of_model(file)
        return cls(*open_transformer(file, threads, context, packed=cache), prefixes)

    @with_options
    def complete(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Completion:
        """Continue `prompt`.

        The markers of an infilling prompt, padding rows and unused tokens are never chosen, even with the largest
        logit, unless `any_token` is set. None is the default of every option.

        Args:
            prompt: text, in which special tokens may be written out, or token ids (a list, an array, a tensor); an
                empty one starts from the end of text. What it has in common with one of the last prompts
                is not computed again.
            max_tokens (int = 128, 0 or more): most tokens to generate; 0 only reads the prompt, for requests to come
                that begin with it.
            temperature (float = 0.2, 0 or more): 0 always takes the most probable token.
            top_k (int = 0, 0 or more): choose among the k most probable tokens; 0 is off.
            top_p (float = 0.95, 0..1): choose among the fewest tokens that add up to this probability; 1 is off.
            min_p (float = 0.0, 0..1): choose among tokens with at least this fraction of the largest probability; 0 is
                off.
            repetition_penalty (float = 1.0, 0.01..100): above 1 discourages tokens of the prompt and the text so far.
            frequency_penalty (float = 0.0, -2..2): subtracted from a token's logit for each time it was generated.
            presence_penalty (float = 0.0, -2..2): subtracted from a token's logit if it was generated.
            logit_bias (Mapping[int, float] | Mapping[str, float] | None = None, -100..100): by token id, added to the
                token's logit; -inf bans the token.
            stop (str | Iterable[str] = ()): a text that ends the completion and is not part of it; of several,
                whichever comes first.
            stop_tokens (int | Iterable[int] = (), 0 or more): a token id that ends the completion: it is the last of
                its tokens, but not part of its text; of several, whichever comes first.
            seed (int | None = None, 0..2^64-1): makes the completion repeatable; None is a random one; the completion
                names it.
            echo (bool = False): begin the completion's text with the prompt; of infilling, with the prefix.
            ignore_eos (bool = False): go on after an end of text, which becomes a token like any other.
            any_token (bool = False): allow tokens that are otherwise never chosen: unused ones, padding rows, infilling
                markers.
            deadline (float | tuple[float, float] | None = None, 0 or more): seconds after which the text so far is
                returned, with the finish reason "deadline"; None is unlimited; of a pair the first holds for the
                prompt, the second for prompt and completion together.
            line_deadline (float | None = None, 0 or more): seconds from the first token on after which the text ends
                with its last whole line, at least the first one, and with the finish reason "deadline"; None is
                unlimited.
            min_indent (int = 0, 0 or more): end the text before a line that is not its first, has text, and begins with
                fewer blanks and tabs; 0 is off.
            logprobs (int | None = None, 0..100): return each token's log-probability, before other options change
                anything, and those of this many of the most probable tokens; None is off.
            prompt_logprobs (int | None = None, 0..100): return each prompt token's log-probability, too, and those of
                this many of the most probable tokens; None is off.
            lookup (bool = True): draft tokens from the text, earlier answers and `index`: same tokens, often sooner.
            token_healing (bool | None = None): take back the last word of the text, or the blanks at its end, and
                generate on from there: what begins with them again, and is not part of the completion's text; None is
                on for texts, off for token ids and with prompt_logprobs.
            truncate (Literal['left'] | None = None): "left" drops tokens at the beginning of a prompt that is too long,
                a few hundred at a time, instead of refusing it; infilling always does; None is off.
            clip (bool = False): where max_tokens is more than the context leaves, generate what it leaves instead of
                refusing the prompt.
            logits_processor (LogitsProcessor | None = None): a function that is called before each token is chosen,
                with all tokens so far (an array of int32, prompt and generated) and the model's logits (an array of
                float32, one for each token of the vocabulary), which it changes in place; None is off.
            stopping (Stopping | None = None): a function that is called with the generated text so far, each time that
                more of it is final; if it returns True, the completion ends with this text; None is off.
            attribution (AttributionIndex | None = None): an index of code in which the text is looked up; None is off.
            on_match (Literal['report', 'stop'] = 'report'): with an index, "report" says what of the text stands there,
                and "stop" also ends the text before it would be a copy that is not common, with the finish reason
                "attribution".
            match_length (int = 40, 16 or more): with an index, the lexemes of the shortest span to report, or not to
                write.

        Raises:
            InvalidRequestError: an argument is unknown, has a wrong type or is out of range.
            ContextOverflowError: the prompt and max_tokens do not fit in the context.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        return self._finish(self._continuation(prompt, options))

    @with_options
    def complete_many(
        self,
        prompts: Prompts,
        n: int | None = 1,
        *,
        progress: bool | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[list[Completion]]:
        """Continue many prompts, `n` times each, in batches that share the passes over the weights.

        A sample depends only on its prompt, the seed and its number: the first one of each prompt is what `complete`
        returns, whatever else is in the list. Common prefixes of prompts are computed once. Up to 64 samples run at a
        time, in at most 1 GiB of keys and values; the others wait.

        Args:
            prompts: each as in `complete`: a list, a generator, the values of a dict, a column of a table, an array of
                texts or of rows of token ids. All are taken and checked before anything runs.
            n: samples of each prompt, at least 1.
            progress: whether to draw a bar on standard error; None draws one on a terminal.
            options: as in `complete`; without a seed, one is drawn for each prompt.

        Returns:
            [prompt][sample]

        Raises:
            InvalidRequestError: also when `prompts` is a single text or a table; the message names the prompt's index.
            ContextOverflowError: a prompt, which the message names, does not fit; nothing runs.
            NumericalError: a sample's logits are not finite; the others are given up.
            ModelClosedError: the model is closed.
        """
        return self._finish_many(self._samples(prompts, n, options), progress)

    @overload
    def complete_each(
        self, requests: Iterable[Request], *, on_error: Literal["raise"] | None = "raise"
    ) -> Generator[tuple[int, Completion], None, None]: ...
    @overload
    def complete_each(
        self, requests: Iterable[Request], *, on_error: OnError
    ) -> Generator[tuple[int, Completion | SantaCoderError], None, None]: ...
    def complete_each(
        self, requests: Iterable[Request], *, on_error: OnError | None = "raise"
    ) -> Generator[Any, None, None]:
        """Continue any number of prompts in one batch, each with its own options; yield results as they are done.

        Requests are taken as there is room for them, so they may be made lazily. Closing the generator ends the work.

        A request that fails does not affect the others. With `on_error` "raise" no more requests are taken, those that
        were taken before are finished and yielded, and then the first error is raised; its message names the position.
        With "return" the error is yielded in place of the completion, and the work goes on.

        Yields:
            The position of a request, counted from 0, and its completion: equal to the one that `complete_many`
            returns for the same prompt, options and sample number. Or, with "return", its error.

        Raises:
            InvalidRequestError: `requests` is a string or not iterable, or `on_error` is neither of the two; of a
                request: it is not a `Request`, or as in `complete`.
            ContextOverflowError: of a request, likewise.
            NumericalError: of a request: its logits are not finite.
            ModelClosedError: the model is closed; this error is raised at once.
        """
        return self._each(requests, on_error).run()

    @with_options
    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generator[Piece, None, Completion]:
        """Continue `prompt` piece by piece; the texts of the pieces join to that of `complete`.

        Arguments and errors are those of `complete`; arguments are checked at once. Closing the generator ends the
        work. When it is exhausted, it returns the completion, as StopIteration's value.
        """
        return self._scheduler.stream(self._continuation(prompt, options))

    @with_options
    def infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Completion:
        """Write what belongs between `prefix` and `suffix`.

        Both are plain text, even where they spell special tokens. Of a long file the parts nearest to the gap are
        kept, by the rule of `infilling.fit`. Where the text starts to repeat the suffix, it ends with finish_reason
        "stop". The model and stop strings see LF for every line break. The text has the line breaks of its file: CRLF
        if most in prefix and suffix are. docs/reference/infilling.md says more.

        `mode` is the order that the model sees, and SantaCoder was trained on both: "psm" is prefix, suffix, middle;
        "spm" is suffix, prefix, middle. "auto" is "spm" in a session; here it is `tokenizer.fim_mode`, which is "psm"
        unless the model's file names the other. `single_line` ends the text before its first line break; at the start
        of a line, blank lines are skipped. `echo` begins the completion's text with the prefix; all other
        arguments are as in `complete`.

        Raises:
            InvalidRequestError: also when the model has no fill-in-the-middle tokens.
            ContextOverflowError: max_tokens leaves no room for a prompt.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        return self._finish(self._infilling(prefix, suffix, mode, single_line, options))

    @with_options
    def stream_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        mode: Mode | None = "auto",
        single_line: bool | None = False,
        **options: Unpack[SamplingOptions],
    ) -> Generator[Piece, None, Completion]:
        """Infill piece by piece: as `stream`, with the arguments and errors of `infill`."""
        return self._scheduler.stream(self._infilling(prefix, suffix, mode, single_line, options))

    def session(self) -> Session:
        """Start a session: a text that grows and is edited, of which only what changed is computed again."""
        return Session(self._scheduler, self.tokenizer, self._runner)

    def index(self, paths: Iterable[str | os.PathLike[str]]) -> ProjectIndex:
        """Guess what comes next from the user's own files, too: the same answers, often sooner.

        The files are listed now and read in the background; those that change are read again. Files of a former call
        are forgotten, and with no paths all are. docs/howto/requests.md says more.

        Args:
            paths: files, and folders of files. Links in them are not followed; names that begin with a dot, folders
                such as build and node_modules, files of more than 1 MB and those that are not UTF-8 are left out.

        Returns:
            The index: how many `files` and `tokens` it holds, what is `left_out`, and `wait()` until all are read.

        Raises:
            InvalidRequestError: there are more than 100,000 files and folders, or a path is neither a folder nor a
                file of text.
            OSError: a path cannot be read.
            ModelClosedError: the model is closed.
        """
        _ = self._scheduler.engine
        index = ProjectIndex(self.tokenizer, paths)
        self._scheduler.guesses.guess_from(index)
        return index

    def logits(self, prompt: Prompt) -> NDArray[np.float32]:
        """Return the model's raw output for every position of a prompt, which is as in `complete`.

        Returns:
            (T, V) float32: row t predicts the token after tokens 0..t.

        Raises:
            InvalidRequestError: the prompt is neither text nor a list of ids within the vocabulary.
            ContextOverflowError: it does not fit in the context.
            ModelClosedError: the model is closed.
        """
        tokens = self._whole(prompt)
        return self._forward(tokens, self._scheduler.engine.new_cache(), "all")

    def iter_logits(
        self, prompt: Prompt, start: int | None = 0, piece: int | None = 256
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of `logits` from position `start` on, `piece` at a time, which bounds the memory.

        Arguments are checked at once; nothing runs before the first rows are asked for.

        Yields:
            (N, V) float32: N is `piece`, or what is left at the end.

        Raises:
            InvalidRequestError: `start` is not a position of the prompt, `piece` is not positive, or as in `logits`.
            ContextOverflowError: the prompt does not fit in the context.
            ModelClosedError: the model is closed.
        """
        tokens = self._whole(prompt)
        start = 0 if start is None else check_integer("start", start, 0, tokens.size - 1)
        return self._iter_logits(tokens, start, 256 if piece is None else check_integer("piece", piece, 1, None))

    def score(self, prompt: Prompt) -> Score:
        """Score how probable each token of a prompt is after those before it; the prompt is as in `complete`.

        It may have one token more than the context: the last one is predicted but not read. Beside the sequence's
        cache, scoring needs memory for 16 rows of logits.

        Raises:
            InvalidRequestError: the prompt is neither text nor a list of ids within the vocabulary.
            ContextOverflowError: it has more than context + 1 tokens.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        return score_sequences(ExclusiveSteps(self._scheduler), [self._scored(prompt)])[0]

    def score_many(self, prompts: Prompts, *, progress: bool | None = None) -> list[Score]:
        """Score several prompts together; results are in their order, with the same numbers as from `score`.

        A prefix that several share is computed once: put a context before all of its continuations. All caches
        together take no more memory than those of three sequences as long as the context.

        Raises:
            InvalidRequestError: `prompts` is a single text or a table, or as in `score`; the message names the prompt's
                index.
            ContextOverflowError: likewise.
            NumericalError: the model's logits are not finite.
            ModelClosedError: the model is closed.
        """
        sequences = each_prompt(prompts, self._scored)
        with progress_bar(sum(token_ids.size - 1 for token_ids in sequences), "tokens", progress) as bar:
            return score_sequences(ExclusiveSteps(self._scheduler), sequences, bar.update)

    def fits(self, prompt: Prompt, max_tokens: int) -> bool:
        """Return whether `prompt`, as in `complete`, and up to `max_tokens` new tokens fit in the context together.

        Raises:
            InvalidRequestError: the prompt is neither text nor a list of ids within the vocabulary, or max_tokens is
                not an integer of 0 or more.
            ModelClosedError: the model is closed.
        """
        max_tokens = check_integer("max_tokens", max_tokens, 0, None)
        try:
            prompt_ids(self.tokenizer, prompt, partial(check_context, max_tokens, self.context))
        except ContextOverflowError:
            return False
        return True

    @property
    def context(self) -> int:
        """Positions that prompt and completion share."""
        return self._scheduler.engine.context

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return self._scheduler.engine.threads

    @property
    def isa(self) -> str:
        """The instruction set of the kernels."""
        return self._scheduler.engine.isa

    @property
    def weights_bytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self._scheduler.engine.weights_bytes

    @property
    def packed_file(self) -> str | None:
        """The file of packed weights that is mapped; None where this process holds the weights by itself."""
        return self._scheduler.engine.weights.packed_file

    @property
    def cache_bytes(self) -> int:
        """Bytes of memory that the keys and values of a text as long as the context take."""
        return -(-self.context // KV_BLOCK) * self._scheduler.engine.block_bytes

    @property
    def tensor_types(self) -> Mapping[str, int]:
        """How many tensors the file held of each type."""
        return self._scheduler.engine.weights.tensor_types

    def close(self) -> None:
        """Release the memory; requests of other threads end with ModelClosedError. Closing twice is fine."""
        self._scheduler.close()

    def __enter__(self) -> SantaCoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a model cannot be pickled: load it in each process")

    def __repr__(self) -> str:
        config = self.config
        name = config.name or config.architecture
        size = f"{config.block_count} layers of {config.embedding_length}, {config.vocab_size} tokens"
        state = "closed" if self._scheduler.closed else f"{self.threads} threads, {self.isa}"
        return f"<SantaCoder {name!r}: {size}, {state}>"

    def _whole(self, prompt: Prompt) -> TokenIds:
        """Return the ids of a prompt that may fill the context."""
        return prompt_ids(self.tokenizer, prompt, partial(check_context, 0, self.context))

    def _scored(self, prompt: Prompt) -> TokenIds:
        """Return the ids of a prompt whose last one is predicted but not read."""
        return prompt_ids(self.tokenizer, prompt, partial(check_scored, self.context))

    def _iter_logits(self, tokens: TokenIds, start: int, piece: int) -> Iterator[NDArray[np.float32]]:
        cache = self._scheduler.engine.new_cache()
        if start:
            self._forward(tokens[:start], cache, "last")
        for first in range(start, tokens.size, piece):
            yield self._forward(tokens[first : first + piece], cache, "all")

    def _forward(self, tokens: TokenIds, cache: KVCache, outputs: Outputs) -> NDArray[np.float32]:
        return self._scheduler.exclusive(lambda engine: engine.forward(tokens, cache, outputs))

    def _each(self, requests: Iterable[Request], on_error: OnError | None) -> RequestStream:
        if isinstance(requests, str | bytes) or not isinstance(requests, Iterable):
            kind = type(requests).__name__
            raise InvalidRequestError(f"requests is a {kind}, but it must be an iterable of Request")
        if on_error is None:
            on_error = "raise"
        if on_error not in get_args(OnError):
            raise invalid_argument("on_error", on_error, "'raise' or 'return'")
        _ = self._scheduler.engine  # it is not closed

        def make(request: Request) -> Sequence:
            return self._continuation(request.prompt, request.options, request.index)

        return RequestStream(self._scheduler, requests, make, on_error)

    def _continuation(self, prompt: Prompt, options: SamplingOptions, index: int = 0) -> Sequence:
        [sequence] = new_sequences(
            check_request(self.tokenizer, self.context, prompt, sampling_params(options)), [index]
        )
        return sequence

    def _samples(self, prompts: Prompts, n: int | None, options: SamplingOptions) -> list[list[Sequence]]:
        n = 1 if n is None else check_integer("n", n, 1, None)
        params = sampling_params(options)
        requests = each_prompt(prompts, lambda prompt: check_request(self.tokenizer, self.context, prompt, params))
        return [new_sequences(request, range(n)) for request in requests]

    def _infilling(
        self, prefix: str, suffix: str, mode: Mode | None, single_line: bool | None, options: SamplingOptions
    ) -> Sequence:
        params = sampling_params(options)
        request = check_infill(self.tokenizer, self.context, prefix, suffix, mode, single_line, params)
        [sequence] = new_sequences(request)
        return sequence

    def _gap_samples(self, gaps: Gaps, n: int | None, form: GapForm, options: SamplingOptions) -> list[list[Sequence]]:
        n = 1 if n is None else check_integer("n", n, 1, None)
        params, around = sampling_params(options), form.around(self._scheduler)

        def check(gap: Gap) -> CheckedRequest:
            return check_infill(
                self.tokenizer, self.context, *check_gap(gap), form.mode, form.single_line, params, around=around
            )

        return [new_sequences(request, range(n)) for request in check_each("gaps", check_gaps(gaps), check)]

    def _finish_many(self, samples: list[list[Sequence]], progress: bool | None) -> list[list[Completion]]:
        sequences = [*chain.from_iterable(samples)]
        with progress_bar(len(sequences), "samples", progress) as bar:
            self._scheduler.finish(sequences, bar.update)
        return [[sequence.completion() for sequence in each] for each in samples]

    def _finish(self, sequence: Sequence) -> Completion:
        self._scheduler.finish([sequence])
        return sequence.completion()
