"""OpenAI's text completions: POST /v1/completions, and the list of models."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence as Several
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from santacoder.batching.prepared import Prepared
from santacoder.decoding.results import Completion, Piece
from santacoder.decoding.sequence import Sequence
from santacoder.requests import draw_seed
from santacoder.server.admission import admitted
from santacoder.server.attribution import matches_member
from santacoder.server.errors import ApiError, bad_request
from santacoder.server.events import EventStream, event
from santacoder.server.exchange import JSONResponse, read_body
from santacoder.server.fields import Fields, bias_of, whole
from santacoder.server.generation import Ask, completions, deadline
from santacoder.server.logprob_lists import FourLists, characters_before, entries, joined
from santacoder.server.prompts import OnePrompt, own_markers, read_prompts
from santacoder.server.service import Service
from santacoder.text.tokenizer import Tokenizer

_MAX_TOKENS = (1 << 31) - 1
_SUFFIX_MODES = ("auto", "psm", "spm")


class CompletionRequest:
    """A request for completions, read from its body.

    Attributes:
        ask: what it asks of the model.
        n: choices of each prompt; `ask.n` may be more, of which these are the best.
        echo: whether texts begin with their prompts.
        logprobs: how many of the best tokens to show beside each, or None.
        stream: whether the answer comes as events.
        include_usage: whether the last event has the sums of tokens.
        headers: further headers of the answer.
    """

    def __init__(self, service: Service, request: Request, body: dict[str, Any]) -> None:
        settings, self.headers = service.settings, dict[str, str]()
        fields = Fields(body)
        fields.refuse_unsupported()
        fields.check_model()
        fields.skip("user", "store", "metadata")
        prompts = read_prompts(fields, settings.max_prompts)
        self.n = fields.integer("n", 1, settings.max_n, 1)
        best_of = fields.integer("best_of", self.n, settings.max_n, self.n)
        self._read_stream(fields)
        if self.stream and best_of > self.n:
            raise bad_request(f"best_of is {best_of}, but a stream has all {self.n} samples as they come", "best_of")
        self.echo = fields.flag("echo")
        self.logprobs = fields.integer("logprobs", 0, settings.max_logprobs, None)
        options = _options(fields, service)
        suffix, infilling = self._read_suffix(fields)
        options["clip"] = settings.overflow == "clip"
        options["deadline"] = deadline(request, settings)
        options["echo"] = self.echo
        options |= service.index_options
        if self.logprobs is not None or best_of > self.n:
            options["logprobs"] = self.logprobs or 0
        if self.logprobs is not None and self.echo:
            options["prompt_logprobs"] = self.logprobs
        if options.get("seed") is None and len(prompts) == 1:
            options["seed"] = draw_seed.get()()  # here, so that every event can name it
        self.seed: int | None = options.get("seed")
        if suffix is None:
            if settings.fim_aliases:
                prompts, alias = own_markers(prompts, service.model.tokenizer)
                if alias:
                    self.headers["x-santacoder-fim"] = alias
            self.ask = Ask(prompts=prompts, n=best_of, options=options)
        else:
            gaps = [(text, suffix) for text in self._texts(prompts)]
            self.ask = Ask(gaps=gaps, n=best_of, options=options, infilling=infilling)
        if ignored := fields.ignored():
            self.headers["x-santacoder-ignored"] = ignored

    def _read_stream(self, fields: Fields) -> None:
        self.stream = fields.flag("stream")
        options = fields.take("stream_options")
        if options is None:
            options = {}
        elif not isinstance(options, dict):
            raise bad_request("stream_options is not an object, but it must be one", "stream_options")
        elif not self.stream:
            raise bad_request("stream_options is given, but stream is not true", "stream_options")
        self.include_usage = Fields(options).flag("include_usage")

    def _read_suffix(self, fields: Fields) -> tuple[str | None, dict[str, Any]]:
        suffix = fields.text("suffix", None)
        mode = fields.text("fim_mode", "auto")
        single_line = fields.flag("single_line")
        if mode not in _SUFFIX_MODES:
            raise bad_request(f"fim_mode is {mode[:40]!r}, but it must be 'auto', 'psm' or 'spm'", "fim_mode")
        if suffix is None and single_line:
            raise bad_request("single_line is true, but it needs a suffix", "single_line")
        if suffix is not None and self.echo:
            raise bad_request("echo is true, but a request with a suffix has no echo", "echo")
        return suffix, {"mode": mode, "single_line": single_line}

    @staticmethod
    def _texts(prompts: Several[OnePrompt]) -> list[str]:
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        if len(texts) < len(prompts):
            raise bad_request("prompt is token ids, but with a suffix it must be text", "prompt")
        return texts


def _options(fields: Fields, service: Service) -> dict[str, Any]:
    """Return the fields that are keywords of the library."""
    defaults = service.sampling_defaults
    options: dict[str, Any] = {
        "max_tokens": fields.integer("max_tokens", 0, _MAX_TOKENS, 16),
        "temperature": fields.number("temperature", 0, 100, defaults["temperature"]),
        "top_p": fields.number("top_p", 0, 1, defaults["top_p"]),
        "stop": fields.stop(),
        "seed": fields.seed(),
        "presence_penalty": fields.number("presence_penalty", -2, 2, 0.0),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2, 0.0),
        "logit_bias": _biases(fields),
        "top_k": max(fields.integer("top_k", -1, None, defaults["top_k"]), 0),
        "min_p": fields.number("min_p", 0, 1, defaults["min_p"]),
        "repetition_penalty": fields.number("repetition_penalty", 0.01, 100, defaults["repetition_penalty"]),
        "ignore_eos": fields.flag("ignore_eos"),
        "stop_tokens": [whole(token) for token in fields.items("stop_token_ids", 1024)],
        "token_healing": fields.flag("token_healing", None),
    }
    return options


def _biases(fields: Fields) -> dict[str, float]:
    value = fields.take("logit_bias")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request("logit_bias is not an object, but it must map token ids to numbers", "logit_bias")
    if len(value) > 1024:
        raise bad_request(f"logit_bias has {len(value)} entries, but 1024 are the most", "logit_bias")
    return {key: bias_of(f"logit_bias[{key[:20]}]", bias) for key, bias in value.items()}


class Answer:
    """Makes the objects of one answer, whole or piece by piece."""

    def __init__(self, service: Service, asked: CompletionRequest) -> None:
        self._asked = asked
        self._tokenizer: Tokenizer = service.model.tokenizer
        self._rows: list[list[Sequence]] = []
        self._lists: dict[int, FourLists] = {}
        self._usages: dict[int, Completion] = {}
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
            "system_fingerprint": service.fingerprint,
        }

    def whole(self, found: list[Completion]) -> dict[str, Any]:
        """Return the answer that is not a stream, of all samples in the order of their indices."""
        n, of = self._asked.n, self._asked.ask.n
        rows = [found[start : start + of] for start in range(0, len(found), of)]
        kept = [row if of == n else sorted(row, key=_badness)[:n] for row in rows]
        choices = [self._choice(i * n + j, i, each) for i, row in enumerate(kept) for j, each in enumerate(row)]
        return {**self._head, "choices": choices, "usage": usage(rows)}

    def _choice(self, index: int, prompt: int, completion: Completion) -> dict[str, Any]:
        piece = Piece("", tuple(completion.tokens), None, tuple(completion.logprobs or ()), completion=completion)
        return {
            "text": completion.text,
            "index": index,
            "logprobs": self._logprobs(index, prompt, piece, completion.prompt_logprobs),
            "finish_reason": _reason(completion.finish_reason),
            "seed": completion.seed,
            **matches_member(completion),
        }

    def begin(self, prepared: Prepared) -> None:
        """See `Shown.begin`."""
        self._rows = prepared.rows

    def events(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """Return the events for a piece of sample `index`."""
        completion = piece.completion
        if completion is not None:
            self._usages[index] = completion
        choice = {
            "text": piece.text,
            "index": index,
            "logprobs": self._logprobs(index, index // self._asked.n, piece, piece.prompt_logprobs),
            "finish_reason": _reason(piece.finish_reason),
            "seed": self._asked.seed if completion is None else completion.seed,
            **matches_member(completion),
        }
        return [{**self._head, "choices": [choice], **self._no_usage()}]

    def last(self) -> bytes:
        """Return the events after all pieces."""
        sums = b""
        if self._asked.include_usage:
            n = self._asked.n
            found = [self._usages[index] for index in sorted(self._usages)]
            rows = [found[start : start + n] for start in range(0, len(found), n)]
            sums = event({**self._head, "choices": [], "usage": usage(rows)})
        return sums + b"data: [DONE]\n\n"

    def _no_usage(self) -> dict[str, Any]:
        return {"usage": None} if self._asked.include_usage else {}

    def _logprobs(self, index: int, prompt: int, piece: Piece, of_prompt: Any) -> dict[str, Any] | None:
        if self._asked.logprobs is None:
            return None
        tokenizer, ask = self._tokenizer, self._asked.ask
        checked = self._rows[prompt][0].request
        lists = self._lists.get(index)
        if lists is None:
            before = 0 if self._asked.echo else characters_before(tokenizer, ask, prompt, checked.owed)
            lists = self._lists[index] = FourLists(tokenizer, before)
        generated = lists.of_completion
        if of_prompt is None:
            return generated(entries(piece))
        first = int(checked.token_ids[0])
        shown = lists.of_prompt(first, of_prompt, silent=not ask.prompts[prompt])
        return joined(shown, generated(entries(piece)))


def _badness(completion: Completion) -> float:
    mean = completion.mean_logprob
    return 0.0 if mean is None else -mean


def _reason(reason: str | None) -> str | None:
    """Return what OpenAI calls a reason to end."""
    return {"deadline": "length", "attribution": "content_filter"}.get(reason or "", reason)


def usage(rows: list[list[Completion]]) -> dict[str, Any]:
    """Return the sums of tokens: each prompt once, and every sample."""
    prompts = sum(row[0].usage.prompt_tokens for row in rows)
    generated = sum(each.usage.completion_tokens for row in rows for each in row)
    return {
        "prompt_tokens": prompts,
        "completion_tokens": generated,
        "total_tokens": prompts + generated,
        "prompt_tokens_details": {"cached_tokens": sum(row[0].timings.cached_tokens for row in rows)},
    }


async def complete(request: Request) -> Response:
    """Answer POST /v1/completions."""
    service: Service = request.app.state.service
    body = await read_body(request, service.settings.max_body)
    asked = CompletionRequest(service, request, body)
    answer = Answer(service, asked)
    if asked.stream:
        return EventStream(service, request, asked.ask, answer, asked.headers)
    found = await completions(service, request, asked.ask, answer.begin)
    return JSONResponse(answer.whole(found), headers=asked.headers)


async def list_models(request: Request) -> Response:
    """Answer GET /v1/models."""
    service: Service = request.app.state.service
    return JSONResponse({"object": "list", "data": [service.describe()]})


async def show_model(request: Request) -> Response:
    """Answer GET /v1/models/{id}."""
    service: Service = request.app.state.service
    described, id = service.describe(), request.path_params["id"]
    if id != described["id"]:
        raise ApiError(404, f"there is no model {ascii(id)[:80]}: this one is {service.name!r}", code="model_not_found")
    return JSONResponse(described)


ROUTES = [
    Route("/v1/completions", complete, methods=["POST"], middleware=admitted("completions")),
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/models", list_models, methods=["GET"]),
    Route("/v1/models/{id:path}", show_model, methods=["GET"]),
]
