"""From a path to a model that can run: the file is read, checked, packed and closed again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING

from santacoder._util.paused_gc import paused_gc
from santacoder._util.validation import check_integer
from santacoder.engine.fpenv import default_fpenv
from santacoder.engine.isa import active
from santacoder.engine.threads import new_team, thread_count
from santacoder.engine.transformer import Transformer
from santacoder.engine.weight_plan import WeightPlan, plan_weights
from santacoder.engine.weights import Weights, load_weights, warn_converted
from santacoder.gguf.config import Config
from santacoder.gguf.config_reader import check_tensors, read_config
from santacoder.gguf.reader import GGUFFile

if TYPE_CHECKING:
    from santacoder._native import Team
    from santacoder.sources.packed import PackedCache
    from santacoder.text.tokenizer import Tokenizer


def open_transformer(
    path: str | os.PathLike[str],
    threads: int | None = None,
    context: int | None = None,
    tokenizer: Tokenizer | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    packed: PackedCache | None = None,
) -> tuple[Transformer, Tokenizer]:
    """Load the model at `path`; the file is not needed afterwards.

    Args:
        path: a GGUF file; of a split model its first part.
        threads: how many threads compute; None takes what the machine allows (see cpus.py).
        context: positions to use, at most those that the model has learned; None takes all.
        tokenizer: the file's own, if it was built before.
        meanwhile: called while the weights are packed: imports, say, which are a tenth of a start.
        packed: where packed weights are kept, to be mapped; None packs the weights into memory of this process.

    Raises:
        OSError: the file cannot be opened.
        ModelFormatError: it is not a model that can run.
        InvalidRequestError: `threads` or `context` is out of range.
        UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
    """
    n_threads = thread_count(threads)
    with paused_gc(), GGUFFile.open(path) as file:
        return build_transformer(file, n_threads, context, tokenizer, meanwhile, packed)


def build_transformer(
    file: GGUFFile,
    n_threads: int,
    context: int | None = None,
    tokenizer: Tokenizer | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    packed: PackedCache | None = None,
) -> tuple[Transformer, Tokenizer]:
    """Load a model as `open_transformer`, from an open file and with a number of threads that was checked."""
    isa = active()
    config = read_config(file)
    check_tensors(file, config)
    positions = usable_context(config, context)
    team = new_team(n_threads)
    plan = plan_weights(file, config)
    warn_converted(file, plan)
    weights, tokenizer = _load_both(lambda: _load(file, plan, team, packed), file, config, tokenizer, meanwhile)
    return Transformer(config, weights, team, isa, positions), tokenizer


def usable_context(config: Config, context: int | None) -> int:
    """Return the positions to use: `context`, or all that the model has learned where it is None.

    Raises:
        InvalidRequestError: `context` is out of range.
    """
    length = config.context_length
    return length if context is None else check_integer("context", context, 1, length)


def _load(file: GGUFFile, plan: WeightPlan, team: Team, packed: PackedCache | None) -> Weights:
    """Map packed weights where that is asked for and possible, else pack them into memory."""
    if packed is not None:
        from santacoder.engine.packed_weights import map_weights

        try:
            return map_weights(file, plan, team, packed)
        except (OSError, NotImplementedError) as error:  # the latter is how filelock names a system without locks
            message = f"{file.path}: the weights are not shared with other processes: {_reason(error)}"
            warnings.warn(message, stacklevel=2)
    return load_weights(file, plan, team)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _load_both(
    load: Callable[[], Weights],
    file: GGUFFile,
    config: Config,
    tokenizer: Tokenizer | None,
    meanwhile: Callable[[], object],
) -> tuple[Weights, Tokenizer]:
    """Build the tokenizer and call `meanwhile` while the C threads pack the weights without the GIL."""
    results: dict[str, Weights] = {}
    errors: list[BaseException] = []

    def pack() -> None:
        try:
            with default_fpenv():  # a new thread inherits its creator's
                results["weights"] = load()
        except BaseException as error:
            errors.append(error)

    packer = Thread(target=pack, name="santacoder-pack")
    try:
        packer.start()
    except RuntimeError:  # the system cannot start a thread: one after the other
        pack()
    try:
        meanwhile()
        from santacoder.text.tokenizer import Tokenizer

        tokenizer = tokenizer or Tokenizer.from_gguf(file, config.vocab_size)
    finally:
        if packer.ident is not None:
            packer.join()
    if errors:
        raise errors[0]
    return results["weights"], tokenizer
