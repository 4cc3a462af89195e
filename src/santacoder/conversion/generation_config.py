"""A checkpoint's generation_config.json, which names ends of text and recommends sampling options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from santacoder._util.json_file import read_object
from santacoder.gguf.sampling_defaults import SamplingDefaults, valid_defaults

GENERATION_CONFIG: Final = "generation_config.json"


def read_generation_config(folder: Path) -> dict[str, Any]:
    """Return the values of the file; none where there is no such file.

    Raises:
        OSError: it cannot be read.
        ModelFormatError: it is too large or not a JSON object; the file is named.
    """
    path = folder / GENERATION_CONFIG
    return read_object(path) if path.is_file() else {}


def published_sampling_defaults(folder: Path) -> SamplingDefaults:
    """Return the sampling options that a checkpoint recommends; what is wrong is ignored with a warning.

    Raises:
        OSError, ModelFormatError: as `read_generation_config`.
    """
    return valid_defaults(read_generation_config(folder), lambda name: f"{GENERATION_CONFIG}: {name}")
