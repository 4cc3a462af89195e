"""llama.cpp on the same file through llama-cpp-python's low-level API: the engine we compare with.

The settings are llama.cpp's defaults: chunks of 512 tokens, F16 cache, flash attention when it chooses to.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from bench.peers.workloads import Stepper

Ids = Sequence[int] | NDArray[np.integer]

N_BATCH = 512  # tokens of a chunk: llama.cpp's default
CELLS = 256  # each sequence of a batch has room for a multiple of this many tokens


class Context:
    """One of a model's contexts: a cache for a number of sequences, and the last logits."""

    def __init__(
        self, model: llama_cpp.llama_model_p, threads: int, n_ctx: int, sequences: int = 1, unified: bool = False
    ) -> None:
        """Make room for `sequences` sequences of `n_ctx` tokens each.

        Each has its own cache; with `unified` they share one, including the cells of a common prefix.
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx * sequences
        params.n_batch = N_BATCH
        params.n_seq_max = sequences
        params.kv_unified = unified
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp could not make a context of {sequences} x {n_ctx} tokens")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(N_BATCH, 0, 1)

    def free(self) -> None:
        """Free the memory."""
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)

    def clear(self) -> None:
        """Forget all sequences."""
        llama_cpp.llama_memory_clear(self._memory, False)

    def copy(self, sequence: int) -> None:
        """Make a sequence begin with all tokens of sequence 0."""
        llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)

    def prompt(self, tokens: Ids) -> None:
        """Run a prompt in sequence 0 and keep the logits of its last token."""
        for start in range(0, len(tokens), N_BATCH):
            part = tokens[start : start + N_BATCH]
            last = start + len(part) == len(tokens)
            self.decode(part, range(start, start + len(part)), outputs="last" if last else "none")

    def decode(
        self, tokens: Ids, positions: Sequence[int], sequences: Sequence[int] | None = None, outputs: str = "all"
    ) -> None:
        """Run one batch and wait for it."""
        batch, count = self._batch, len(tokens)
        batch.n_tokens = count
        for index in range(count):
            batch.token[index] = int(tokens[index])
            batch.pos[index] = positions[index]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequences[index] if sequences else 0
            batch.logits[index] = outputs == "all" or (outputs == "last" and index == count - 1)
        status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode failed with status {status}")
        llama_cpp.llama_synchronize(self._context)

    def outputs(self, count: int, vocabulary: int) -> NDArray[np.float32]:
        """Return the logits (count, V) of the last batch, copied."""
        pointer = ctypes.cast(llama_cpp.llama_get_logits(self._context), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (count, vocabulary)).copy()


class LlamaCpp(Stepper):
    """A model, a context for single sequences, and one for each size of batch, made on first use."""

    def __init__(self, path: str | Path, threads: int, n_ctx: int = 2048, unified: bool = True) -> None:
        """Load a model; `unified` is the kind of cache for batches, see `Context`.

        With two threads, 16 or 64 sequences after 128 shared tokens were 2% faster with one cache for all (median of
        ten pairs, from 1% slower to 6% faster).
        """
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)  # its levels are off by one
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        self._threads = threads
        self._unified = unified
        self._single = self._current = Context(self._model, threads, n_ctx)
        self._batches: dict[tuple[int, int], Context] = {}  # by positions and sequences
        self._length = 0
        self.vocabulary: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def close(self) -> None:
        """Free everything."""
        for context in (self._single, *self._batches.values()):
            context.free()
        llama_cpp.llama_model_free(self._model)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Measurements.

    def begin(self, prompt: Ids, sequences: int, steps: int) -> None:
        self._length = len(prompt)
        self._current = self._single if sequences == 1 else self._batch(sequences, len(prompt) + steps)
        self._current.clear()
        self._current.prompt(prompt)
        for sequence in range(1, sequences):
            self._current.copy(sequence)

    def step(self, tokens: Ids) -> None:
        count = len(tokens)
        self._current.decode(tokens, [self._length] * count, range(count))
        self._length += 1

    def versions(self) -> dict[str, str]:
        return {
            "llama-cpp-python": llama_cpp.__version__,
            "cache of batches": "one for all sequences" if self._unified else "one for each sequence",
            "system": llama_cpp.llama_print_system_info().decode().strip(),
        }

    def _batch(self, sequences: int, length: int) -> Context:
        key = -(-length // CELLS) * CELLS, sequences
        if key not in self._batches:
            self._batches[key] = Context(self._model, self._threads, *key, self._unified)
        return self._batches[key]

    # Results.

    def logits(self, tokens: Ids) -> NDArray[np.float32]:
        """Return the logits (T, V) of every position."""
        self._single.clear()
        ids = np.asarray(tokens)
        parts = []
        for start in range(0, len(ids), N_BATCH):
            part = ids[start : start + N_BATCH]
            self._single.decode(part, range(start, start + len(part)))
            parts.append(self._single.outputs(len(part), self.vocabulary))
        return np.concatenate(parts)

    def greedy(self, tokens: Ids, count: int) -> list[int]:
        """Return `count` greedily chosen tokens after a prompt; an end of text does not stop it."""
        self.begin(tokens, 1, count)
        chosen: list[int] = []
        while True:
            chosen.append(int(self._single.outputs(1, self.vocabulary)[0].argmax()))
            if len(chosen) == count:
                return chosen
            self.step(chosen[-1:])


def quantize_file(source: Path, target: Path, file_type: int, threads: int = 0) -> None:
    """Have llama.cpp's quantizer write `target`; `file_type` is its `llama_ftype`, and with 0 threads it chooses.

    Raises:
        RuntimeError: it failed.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = threads
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp could not quantize {source} (status {status})")
