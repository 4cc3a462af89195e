"""From a path to a model that can run: the file is read, checked, packed and closed again."""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING, Any

from santacoder import _isa
from santacoder.arguments import check_integer
from santacoder.config import Config, check_tensors, read_config
from santacoder.float_state import default_float_state
from santacoder.gguf_file import GGUFFile
from santacoder.thread_team import new_team, thread_count
from santacoder.transformer import Transformer
from santacoder.weights import Weights, load_weights

if TYPE_CHECKING:
    from santacoder.tokenizer import Tokenizer


def open_transformer(
    path: str | os.PathLike[str],
    threads: int | None = None,
    context: int | None = None,
    tokenizer: Tokenizer | None = None,
) -> tuple[Transformer, Tokenizer]:
    """Load the model at `path`; the file is not needed afterwards.

    Args:
        path: a GGUF file; of a split model its first part.
        threads: how many threads compute; None takes what the machine allows (see `cpus`).
        context: positions to use, at most what the model has learned; None takes all.
        tokenizer: the file's own, where it was built before.

    Raises:
        OSError: the file cannot be opened.
        ModelFormatError: it is not a model that can run.
        InvalidRequestError: `threads` or `context` is out of range.
        UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
    """
    n_threads = thread_count(threads)
    with GGUFFile.open(path) as file:
        return build_transformer(file, n_threads, context, tokenizer)


def build_transformer(
    file: GGUFFile, n_threads: int, context: int | None = None, tokenizer: Tokenizer | None = None
) -> tuple[Transformer, Tokenizer]:
    """The same for a file that is open, and for a number of threads that is in bounds."""
    isa = _isa.active()
    config = read_config(file)
    check_tensors(file, config)
    length = config.context_length
    positions = length if context is None else check_integer("context", context, 1, length)
    team = new_team(n_threads)
    weights, tokenizer = _load_both(file, config, team, tokenizer)
    return Transformer(config, weights, team, isa, positions), tokenizer


def _load_both(file: GGUFFile, config: Config, team: Any, tokenizer: Tokenizer | None) -> tuple[Weights, Tokenizer]:
    """The tokenizer is built, and what else a model needs imported, while the C threads pack, without Python's lock."""
    results: dict[str, Weights] = {}
    errors: list[BaseException] = []

    def pack() -> None:
        try:
            with default_float_state():  # a new thread has that of its maker
                results["weights"] = load_weights(file, config, team)
        except BaseException as error:
            errors.append(error)

    packer = Thread(target=pack, name="santacoder-pack")
    try:
        packer.start()
    except RuntimeError:  # the system has no thread left: one after the other
        pack()
    try:
        import santacoder.model  # noqa: F401 - with all that it imports, a tenth of a start
        from santacoder.tokenizer import Tokenizer

        tokenizer = tokenizer or Tokenizer.from_gguf(file, config.vocab_size)
    finally:
        if packer.ident is not None:
            packer.join()
    if errors:
        raise errors[0]
    return results["weights"], tokenizer
