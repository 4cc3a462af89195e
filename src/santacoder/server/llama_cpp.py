"""llama.cpp's endpoints for texts: POST /completion and POST /infill."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder.batching.prepared import Prepared
from santacoder.decoding.results import Completion, Piece
from santacoder.server.admission import admitted
from santacoder.server.attribution import matches_member
from santacoder.server.errors import ApiError, bad_request
from santacoder.server.events import EventStream
from santacoder.server.exchange import JSONResponse, read_body
from santacoder.server.fields import Fields, bias_of, kind, whole
from santacoder.server.generation import SHORT, Ask, completions, deadline
from santacoder.server.logprob_lists import entries, token_list
from santacoder.server.prompts import own_markers, read_prompts
from santacoder.server.service import Service
from santacoder.text.tokenizer import Tokenizer

_MOST: Final = (1 << 31) - 1
#: Samplers that a list of `samplers` switches off if it does not name them, and the values that are off.
_SAMPLERS: Final[dict[str, dict[str, Any]]] = {
    "top_k": {"top_k": 0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "penalties": {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
}
#: Accepted fields that change no text.
_FLAGS: Final = ("cache_prompt", "timings_per_token", "return_progress")
_NUMBERS: Final = ("n_keep", "n_cache_reuse", "min_keep", "sse_ping_interval")
#: Options that `generation_settings` shows as they are, and their names in this dialect.
_SHOWN: Final = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "repetition_penalty": "repeat_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty", "stop": "stop", "ignore_eos": "ignore_eos", "min_indent": "n_indent",
}  # fmt: skip


class LlamaRequest:
    """A request of this dialect, read from its body.

    Attributes:
        ask: what it asks of the model.
        warms_up: whether it only wants its texts in the cache, and gives way to others.
        headers: further headers of the answer.
    """

    def __init__(self, service: Service, request: Request, body: dict[str, Any], infills: bool) -> None:
        self.headers: dict[str, str] = {}
        self._service = service
        fields = Fields(body)
        fields.refuse_unsupported()
        fields.check_model()
        n = _samples(fields, service.settings.max_n)
        self.stream = fields.flag("stream")
        self.return_tokens = fields.flag("return_tokens")
        self.slot = max(fields.integer("id_slot", -1, _MOST, 0), 0)
        self.shown = _response_fields(fields)
        self.options = self._read_options(fields)
        self.options["deadline"] = deadline(request, service.settings)
        self.options |= service.index_options
        budget = fields.integer("t_max_prompt_ms", 0, _MOST, 0)
        self.warms_up = False
        if infills:
            self.ask = self._infill(fields, n, budget)
        else:
            prompts = read_prompts(fields, service.settings.max_prompts)
            if service.settings.fim_aliases:
                prompts, alias = own_markers(prompts, service.model.tokenizer)
                if alias:
                    self.headers["x-santacoder-fim"] = alias
            self.ask = Ask(prompts=prompts, n=n, options=self.options)
        for name in _FLAGS:
            fields.flag(name)
        for name in _NUMBERS:
            fields.number(name, -math.inf, math.inf, 0)
        if ignored := fields.ignored():
            self.headers["x-santacoder-ignored"] = ignored

    def _read_options(self, fields: Fields) -> dict[str, Any]:
        settings, defaults = self._service.settings, self._service.sampling_defaults
        n_predict = -1
        for name in ("max_completion_tokens", "max_tokens", "n_predict"):
            n_predict = fields.integer(name, -1, _MOST, n_predict)
        n_probs = fields.integer("n_probs", 0, settings.max_logprobs, 0)
        t_max = fields.integer("t_max_predict_ms", 0, _MOST, 0)
        options = {
            "max_tokens": _MOST if n_predict < 0 else n_predict,
            "clip": True,
            "temperature": fields.number("temperature", 0, 100, defaults["temperature"]),
            "top_k": max(fields.integer("top_k", -1, None, defaults["top_k"]), 0),
            "top_p": fields.number("top_p", 0, 1, defaults["top_p"]),
            "min_p": fields.number("min_p", 0, 1, defaults["min_p"]),
            "repetition_penalty": fields.number("repeat_penalty", 0.01, 100, defaults["repetition_penalty"]),
            "presence_penalty": fields.number("presence_penalty", -2, 2, 0.0),
            "frequency_penalty": fields.number("frequency_penalty", -2, 2, 0.0),
            "logit_bias": _biases(fields, self._service.model.tokenizer),
            "stop": fields.stop(),
            "seed": fields.seed(),
            "ignore_eos": fields.flag("ignore_eos"),
            "logprobs": n_probs or None,
            "min_indent": fields.integer("n_indent", 0, _MOST, 0),
            "line_deadline": t_max / 1e3 if t_max else None,
            "token_healing": fields.flag("token_healing", None),
        }
        options |= _switched_off(fields)
        if fields.integer("repeat_last_n", -1, _MOST, -1) == 0:
            options |= _SAMPLERS["penalties"]
        return options

    def _infill(self, fields: Fields, n: int, budget: int) -> Ask:
        tokenizer, settings = self._service.model.tokenizer, self._service.settings
        if None in (tokenizer.fim_prefix_id, tokenizer.fim_suffix_id, tokenizer.fim_middle_id):
            raise ApiError(400, "this model has no fill-in-the-middle tokens", kind="not_supported_error")
        before, after = fields.text("input_prefix", None), fields.text("input_suffix", None)
        for name, text in (("input_prefix", before), ("input_suffix", after)):
            if text is None:
                raise bad_request(f"{name} is missing: it must be a text", name)
        line = fields.text("prompt", "")
        extra = _extra_texts(fields)
        self.warms_up = self.options["max_tokens"] == 0 and not (before or after or line)
        infilling: dict[str, Any] = {
            "mode": "spm" if settings.fim_mode == "auto" else settings.fim_mode,
            "extra": extra,
            "extra_tokens": settings.extra_context,
        }
        if budget and not self.warms_up:
            infilling["context_budget"] = budget / 1e3
        return Ask(gaps=[(f"{before}{line}", f"{after}")], n=n, options=self.options, infilling=infilling)


def _samples(fields: Fields, most: int) -> int:
    n = 1
    for name in ("n", "n_cmpl"):
        value = whole(fields.take(name))
        if value is None:
            continue
        if type(value) is not int or not 1 <= value <= most:
            shown = value if isinstance(value, int | float) else kind(value)
            raise bad_request(f"Field 'n_cmpl': Value must be between 1 and {most}, but it is {shown}", name)
        n = value
    return n


def _response_fields(fields: Fields) -> list[str] | None:
    if not fields.has("response_fields"):
        fields.skip("response_fields")
        return None
    names = fields.items("response_fields", 100)
    if not all(isinstance(name, str) for name in names):
        raise bad_request("response_fields holds something other than texts", "response_fields")
    return names


def _switched_off(fields: Fields) -> dict[str, Any]:
    """Return the options that are off because `samplers` does not name them."""
    value = fields.take("samplers")
    if isinstance(value, str) or value is None:
        return {}
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise bad_request(f"samplers is {kind(value)}, but it must be a list of texts", "samplers")
    off: dict[str, Any] = {}
    for name, values in _SAMPLERS.items():
        if name not in value:
            off |= values
    return off


def _biases(fields: Fields, tokenizer: Tokenizer) -> dict[int, float]:
    """Return the bias of each token; a text stands for all of its tokens, and false bans."""
    value = fields.take("logit_bias")
    pairs = list(value.items()) if isinstance(value, dict) else [] if value is None else value
    if not isinstance(pairs, list):
        raise bad_request(f"logit_bias is {kind(value)}, but it must be a list of pairs or an object", "logit_bias")
    if len(pairs) > 1024:
        raise bad_request(f"logit_bias has {len(pairs)} entries, but 1024 are the most", "logit_bias")
    texts = sum(len(pair[0]) for pair in pairs if isinstance(pair, list | tuple) and pair and isinstance(pair[0], str))
    if texts > SHORT:
        raise bad_request(f"logit_bias has texts of {texts} characters, but {SHORT} are the most", "logit_bias")
    biases: dict[int, float] = {}
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise bad_request(f"logit_bias[{index}] is not a pair of a token and a number", "logit_bias")
        key, bias = pair
        number = -math.inf if bias is False else bias_of(f"logit_bias[{index}]", bias)
        if isinstance(key, str) and not (isinstance(value, dict) and key.isascii() and key.isdecimal()):
            tokens = tokenizer.encode(key, special=False)
        else:
            tokens = [int(key) if isinstance(key, str) else whole(key)]  # type: ignore[list-item]
        if not all(type(token) is int for token in tokens):
            raise bad_request(
                f"logit_bias[{index}] names {kind(key)}, but it must name a token id or a text", "logit_bias"
            )
        biases |= dict.fromkeys(tokens, number)
    return biases


def _extra_texts(fields: Fields) -> list[str]:
    texts = []
    for index, item in enumerate(fields.items("input_extra", 1024)):
        text = item.get("text") if isinstance(item, dict) else None
        if not isinstance(text, str):
            raise bad_request(
                f'input_extra[{index}] has no text: it must be an object with the text "text"', "input_extra"
            )
        texts.append(text)
    return texts


class Answer:
    """Makes the objects of one answer."""

    def __init__(self, service: Service, asked: LlamaRequest) -> None:
        self._name = service.name
        self._context = service.model.context
        self._asked = asked
        self._tokenizer: Tokenizer = service.model.tokenizer
        self._predicted: dict[int, int] = {}
        self._prompt_tokens: list[int] = []  # of each sample

    def whole(self, found: list[Completion]) -> Any:
        """Return the final object, or an array of several."""
        objects = [self._final(index, each, each.text) for index, each in enumerate(found)]
        return objects[0] if len(objects) == 1 else objects

    def begin(self, prepared: Prepared) -> None:
        """See `Shown.begin`."""
        samples = [*prepared]
        self._prompt_tokens = [sample.usage.prompt_tokens for sample in samples]
        if "context_budget" in self._asked.ask.infilling:
            read = self._prompt_tokens[0]
            self._asked.headers["x-santacoder-context"] = f"{read}/{read + samples[0].request.dropped}"

    def last(self) -> bytes:
        """See `Shown.last`."""
        return b""

    def events(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """Return the events for a piece of sample `index`."""
        events: list[dict[str, Any]] = []
        self._predicted[index] = self._predicted.get(index, 0) + len(piece.tokens)
        shown = entries(piece)
        if piece.text or piece.tokens or shown:
            event = {
                "index": index,
                "content": piece.text,
                "tokens": [*piece.tokens] if self._asked.return_tokens else [],
                "stop": False,
                "id_slot": self._asked.slot,
                "tokens_predicted": self._predicted[index],
                "tokens_evaluated": self._prompt_tokens[index],
            }
            if self._asked.options["logprobs"]:
                event["completion_probabilities"] = token_list(self._tokenizer, shown)
            events.append(event)
        if piece.completion is not None:
            events.append(self._final(index, piece.completion, ""))
        return events

    def _final(self, index: int, completion: Completion, content: str) -> dict[str, Any]:
        asked, usage = self._asked, completion.usage
        whole_object = {
            "index": index,
            "content": content,
            "tokens": completion.tokens if asked.return_tokens and content == completion.text else [],
            "id_slot": asked.slot,
            "stop": True,
            "model": self._name,
            "tokens_predicted": usage.completion_tokens,
            "tokens_evaluated": usage.prompt_tokens,
            "generation_settings": self._settings(completion.seed),
            "prompt": "",
            "has_new_line": "\n" in completion.text,
            "truncated": completion.finish_reason == "length" and usage.total_tokens >= self._context,
            "stop_type": self._stop_type(completion),
            "stopping_word": completion.stop_text or "",
            "tokens_cached": usage.total_tokens,
            "timings": timings(completion),
            **matches_member(completion),
        }
        if asked.options["logprobs"]:
            of = Piece("", (), None, tuple(completion.logprobs or ()), completion=completion)
            whole_object["completion_probabilities"] = token_list(self._tokenizer, entries(of)) if content else []
        return whole_object if asked.shown is None else picked(whole_object, asked.shown)

    def _settings(self, seed: int) -> dict[str, Any]:
        options = self._asked.options
        n_predict, biases = options["max_tokens"], options["logit_bias"].items()
        return {
            **{shown: options[name] for name, shown in _SHOWN.items()},
            "n_predict": -1 if n_predict == _MOST else n_predict,
            "logit_bias": [[token, False if bias == -math.inf else bias] for token, bias in biases],
            "n_probs": options["logprobs"] or 0,
            "t_max_predict_ms": 1e3 * (options["line_deadline"] or 0),
            "n_ctx": self._context,
            "seed": seed,
            "stream": self._asked.stream,
        }

    def _stop_type(self, completion: Completion) -> str:
        if completion.stop_text is not None:
            return "word"
        if completion.end_token is not None:
            return "eos"
        by_limit = completion.finish_reason in ("length", "deadline", "attribution")
        return "limit" if by_limit or self._asked.options["min_indent"] else "none"


def timings(completion: Completion) -> dict[str, float]:
    """Return llama.cpp's counts and times of a completion; 0 where there is nothing to divide."""
    times, predicted = completion.timings, completion.usage.completion_tokens
    prompt_ms, predicted_ms = 1e3 * times.prompt_seconds, 1e3 * times.generation_seconds
    return {
        "cache_n": completion.timings.cached_tokens,
        "prompt_n": times.prompt_tokens,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": _ratio(prompt_ms, times.prompt_tokens),
        "prompt_per_second": _ratio(1e3 * times.prompt_tokens, prompt_ms),
        "predicted_n": predicted,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": _ratio(predicted_ms, predicted),
        "predicted_per_second": _ratio(1e3 * predicted, predicted_ms),
    }


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0


def picked(found: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the members that are named, "a/b" flat under that very name; those that are missing are left out."""
    result: dict[str, Any] = {}
    for name in names:
        value: Any = found
        for part in name.split("/"):
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            result[name] = value
    return result


_MISSING: Final = object()


async def complete(request: Request) -> Response:
    """Answer POST /completion."""
    return await _answer(request, infills=False)


async def infill(request: Request) -> Response:
    """Answer POST /infill."""
    return await _answer(request, infills=True)


async def _answer(request: Request, infills: bool) -> Response:
    service: Service = request.app.state.service
    body = await read_body(request, service.settings.max_body)
    asked = LlamaRequest(service, request, body, infills)
    counters = service.model.counters()
    if asked.warms_up and counters.running + counters.waiting:
        return JSONResponse({}, headers=asked.headers)
    answer = Answer(service, asked)
    if asked.stream:
        return EventStream(service, request, asked.ask, answer, asked.headers)
    found = await completions(service, request, asked.ask, answer.begin)
    return JSONResponse(answer.whole(found), headers=asked.headers)


ROUTES = [
    Route("/completion", complete, methods=["POST"], middleware=admitted("completion")),
    Route("/completions", complete, methods=["POST"], middleware=admitted("completion")),
    Route("/infill", infill, methods=["POST"], middleware=admitted("infill")),
]
