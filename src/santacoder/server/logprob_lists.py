"""Log-probabilities as the dialects show them: OpenAI's four lists, llama.cpp's list of tokens."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from santacoder.decoding.logprobs import TokenLogprobs
from santacoder.decoding.results import Piece
from santacoder.server.generation import Ask
from santacoder.text.tokenizer import Tokenizer


def token_text(tokenizer: Tokenizer, token: int) -> str:
    r"""Return a token's text, or "bytes:\xe6\x97" where its bytes by themselves are not UTF-8; no two share one."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def entries(piece: Piece) -> list[TokenLogprobs]:
    """Return the entries of a piece's tokens, and that of the end of text if it ended there."""
    found = list(piece.logprobs or ())
    if piece.completion is not None and piece.completion.end_logprobs is not None:
        found.append(piece.completion.end_logprobs)
    return found


class FourLists:
    """The lists of one sample: tokens, their log-probabilities, the best beside each, and where each token begins."""

    def __init__(self, tokenizer: Tokenizer, characters: int) -> None:
        """Begin at a number of characters from the start of prompt and completion."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at = characters

    def of_prompt(self, first: int, found: Sequence[TokenLogprobs | None], silent: bool) -> dict[str, Any]:
        """Return the lists of a prompt's tokens; the first has no log-probability, and no text if it is `silent`."""
        lists = _empty()
        for entry in found:
            self._add(lists, first if entry is None else entry.token, entry, silent)
        return lists

    def of_completion(self, found: Iterable[TokenLogprobs]) -> dict[str, Any]:
        """Return the lists of the next generated tokens."""
        lists = _empty()
        for entry in found:
            self._add(lists, entry.token, entry, silent=False)
        return lists

    def _add(self, lists: dict[str, Any], token: int, entry: TokenLogprobs | None, silent: bool) -> None:
        lists["tokens"].append(token_text(self._tokenizer, token))
        lists["token_logprobs"].append(None if entry is None else entry.logprob)
        lists["top_logprobs"].append(None if entry is None else self._best(entry))
        lists["text_offset"].append(self._at)
        if not silent:
            self._at += len(self._decoder.decode(self._tokenizer.token_bytes(token)))

    def _best(self, entry: TokenLogprobs) -> dict[str, float]:
        """Return the best tokens and the chosen one, whose number is the very one of `token_logprobs`."""
        best = {token_text(self._tokenizer, token): value for token, value in entry.top}
        best[token_text(self._tokenizer, entry.token)] = entry.logprob
        return best


def _empty() -> dict[str, Any]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return lists one behind the other."""
    return {name: first[name] + second[name] for name in first}


def characters_before(tokenizer: Tokenizer, ask: Ask, prompt: int, owed: bytes) -> int:
    """Return how many characters stand before the first token that is generated after prompt number `prompt`.

    Those that token healing took back, `owed`, and that the first tokens spell again, are not counted.
    """
    before = ask.gaps[prompt][0] if ask.gaps else ask.prompts[prompt]
    if not isinstance(before, str):
        return len(tokenizer.decode(before))
    return len(before) - len(owed.decode(errors="replace"))


def token_list(tokenizer: Tokenizer, found: Iterable[TokenLogprobs]) -> list[dict[str, Any]]:
    """Return llama.cpp's `completion_probabilities`."""
    return [
        {
            **_token(tokenizer, entry.token, entry.logprob),
            "top_logprobs": [_token(tokenizer, token, value) for token, value in entry.top],
        }
        for entry in found
    ]


def _token(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token)
    return {"id": token, "token": token_text(tokenizer, token), "bytes": [*data], "logprob": logprob}
