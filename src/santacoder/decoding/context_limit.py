"""Whether a request fits into the context."""

from __future__ import annotations

from santacoder.errors import ContextOverflowError


def check_context(max_tokens: int, context: int, prompt_tokens: int, at_least: bool = False) -> None:
    """Check that a request fits; `at_least` says that the prompt may have more than `prompt_tokens` tokens.

    Raises:
        ContextOverflowError: it needs more positions than the context has.
    """
    least = "at least " if at_least else ""
    if max_tokens == 0 and prompt_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens, but the context has {context} positions",
            prompt_tokens,
            context,
        )
    if prompt_tokens + max_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens and max_tokens is {max_tokens}, together "
            f"{least}{prompt_tokens + max_tokens}, but the context has {context} positions",
            prompt_tokens,
            context,
        )


def check_scored(context: int, tokens: int, at_least: bool = False) -> None:
    """Check that a text to be scored fits; its last token is predicted but not read, so it needs no position.

    `at_least` is as in `check_context`.

    Raises:
        ContextOverflowError: it needs more positions than the context has.
    """
    if tokens - 1 > context:
        least = "at least " if at_least else ""
        raise ContextOverflowError(
            f"the prompt has {least}{tokens} tokens, but at most {context + 1} can be scored: the context "
            f"has {context} positions, and the last token needs none",
            tokens,
            context,
        )
