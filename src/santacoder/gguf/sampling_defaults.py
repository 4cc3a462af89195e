"""The sampling options that a model's file recommends: the keys `general.sampling.*`, which llama.cpp reads too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Final

from santacoder._util.validation import check_integer, check_number
from santacoder.errors import InvalidRequestError

#: Values by the option's name, which is also its name in a checkpoint's generation_config.json.
SamplingDefaults = Mapping[str, int | float]

#: Key of each option in a GGUF file.
SAMPLING_KEYS: Final[Mapping[str, str]] = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
_RANGES: Final = {"temperature": (0, 100), "top_p": (0, 1), "min_p": (0, 1), "repetition_penalty": (0.01, 100)}
_MOST_K: Final = (1 << 31) - 1


def valid_defaults(values: Mapping[str, object], place: Callable[[str], str]) -> SamplingDefaults:
    """Return the options in `values`; of those of a wrong type or range a warning is given, which calls them `place`.

    Float32 values become the shortest decimal that stands for them: 0.95, not 0.949999988079071.
    """
    found: dict[str, int | float] = {}
    for name in SAMPLING_KEYS:
        value = values.get(name)
        if value is None:
            continue
        try:
            if name == "top_k":
                found[name] = check_integer(place(name), value, 0, _MOST_K)
            else:
                found[name] = _shortest(check_number(place(name), value, *_RANGES[name]))
        except InvalidRequestError as error:
            warnings.warn(f"{error}; it is ignored", stacklevel=2)
    return found


def read_sampling_defaults(metadata: Mapping[str, object]) -> SamplingDefaults:
    """Return the options that a file's metadata recommends; see `valid_defaults`."""
    values = {name: metadata[key] for name, key in SAMPLING_KEYS.items() if key in metadata}
    return valid_defaults(values, SAMPLING_KEYS.__getitem__)


def _shortest(number: float) -> float:
    import numpy as np  # the command line's help needs the keys, and should not wait for it

    single = np.float32(number)
    return float(str(single)) if float(single) == number else number
