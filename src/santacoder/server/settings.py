"""What a server is started with: declared, explained and checked here only; the flags of the command follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final, Literal

from santacoder._util.validation import check_integer, check_number, invalid_argument
from santacoder.errors import InvalidRequestError

#: Addresses that only this machine can reach.
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


LEAST_MATCH: Final = 16  # lexemes of the shortest span that an index can find


def _setting(default: object, help: str, **limits: object) -> Any:
    """Declare a setting: `low` and `high` are the limits of a number, `choices` those of a text."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is started with: a value of every setting.

    Attributes:
        api_keys: any of these opens the server; without one, everybody may use it.
        model_file: the file that the model was loaded from: it names the model and gives the digest of its weights.
        host: the address that the server listens at; on loopback, requests for other hosts are refused.

    Raises:
        InvalidRequestError: a value is of a wrong type or out of range.
    """

    api_keys: tuple[str, ...] = ()
    model_file: str | None = None
    host: str = "127.0.0.1"
    alias: str | None = _setting(None, "the model's name in answers (default: the file's, without .gguf)")
    temperature: float | None = _setting(
        None, "of requests that do not say (default: the model file's, else 0.2)", low=0, high=100
    )
    top_p: float | None = _setting(
        None, "of requests that do not say (default: the model file's, else 0.95)", low=0, high=1
    )
    max_running: int = _setting(64, "samples in the batch", low=1, high=1024)
    max_queue: int = _setting(64, "samples that wait for their turn; 1000 for harnesses", low=0, high=1 << 20)
    queue_timeout: float = _setting(60.0, "seconds that a sample waits for its turn", low=0, high=1e6)
    request_timeout: float = _setting(600.0, "seconds after which a request gets its text so far", low=0, high=1e6)
    drain: float = _setting(
        30.0, "seconds that requests may still run when the server is told to stop", low=0, high=1e6
    )
    max_body: int = _setting(4 << 20, "bytes of a request", low=1, high=1 << 30)
    max_n: int = _setting(64, "samples of one prompt", low=1, high=1 << 16)
    max_samples: int = _setting(256, "samples of one request", low=1, high=1 << 16)
    max_prompts: int = _setting(256, "prompts of one request", low=1, high=1 << 16)
    max_logprobs: int = _setting(20, "log-probabilities beside a token's own", low=0, high=100)
    overflow: Literal["clip", "error"] = _setting(
        "clip", "what becomes of a max_tokens above the room in the context", choices=("clip", "error")
    )
    fim_mode: Literal["auto", "psm", "spm"] = _setting(
        "auto", "order of infilling prompts of /infill; auto is spm, which reads least while a user types",
        choices=("auto", "psm", "spm"),
    )  # fmt: skip
    fim_aliases: bool = _setting(True, "take other models' infilling markers in a prompt for this model's own")
    extra_context: int = _setting(512, "tokens of other files in an infilling prompt", low=0, high=1 << 20)
    cors_origin: tuple[str, ...] = _setting((), "a web page's origin that may ask from a browser; repeatable")
    allowed_host: tuple[str, ...] = _setting((), "a host name that requests may name beside loopback's; repeatable")
    attribution: str | None = _setting(None, "an index of code in which texts are looked up (default: none)")
    on_match: Literal["report", "stop"] = _setting(
        "report", "with an index: stop ends a text before it would be a copy", choices=("report", "stop")
    )
    match_length: int = _setting(
        40, "with an index: lexemes of the shortest span to report, or not to write", low=LEAST_MATCH, high=1 << 20
    )
    metrics: bool = _setting(True, "serve /metrics")
    slots: bool = _setting(True, "serve /slots")
    page: bool = _setting(True, "serve the page")

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), setting))

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK


#: Every setting, by its name.
SETTINGS: Final[Mapping[str, Field[Any]]] = {declared.name: declared for declared in fields(Settings)}


def _checked(name: str, value: object, setting: Field[Any]) -> object:
    kind, limits = str(setting.type), setting.metadata
    if value is None and setting.default is None:
        return None
    if kind == "int":
        return check_integer(name, value, limits["low"], limits["high"])
    if kind.startswith("float"):
        return check_number(name, value, limits["low"], limits["high"])
    if kind == "bool":
        if not isinstance(value, bool):
            raise invalid_argument(name, value, "True or False")
    elif kind.startswith("tuple"):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise invalid_argument(name, value, "a list of texts")
        value = (*value,)
        if not all(isinstance(text, str) and text for text in value):
            raise InvalidRequestError(f"{name} holds something other than texts that are not empty")
    elif "choices" in limits:
        if value not in limits["choices"]:
            raise invalid_argument(name, value, " or ".join(map(repr, limits["choices"])))
    elif not isinstance(value, str):
        raise invalid_argument(name, value, "a text")
    return value
