"""Base classes and lists of the hooks of `generate`, for code that derives its own from them.

`generate` runs each row by itself, in a batch with the others: a hook is called with the ids of one row (1, L), and
each row ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LogitsProcessor:
    """Changes the scores of the next token."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores (1, V) for the token after the ids (1, L); may change them in place."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


class StoppingCriteria:
    """Decides whether a row ends."""

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
        """Return whether the row of the ids (1, L) has ended: a bool, or an array or tensor (1,) of them."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


class LogitsProcessorList(list[Callable[[Any, Any], Any]]):
    """Processors, called one after the other."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return what the last processor makes of the scores."""
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[Callable[..., Any]]):
    """Criteria, of which one is enough to end a row."""

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> bool:
        """Return whether any of the criteria ends the row."""
        answers = [bool(criterion(input_ids, scores, **options)) for criterion in self]
        return any(answers)
