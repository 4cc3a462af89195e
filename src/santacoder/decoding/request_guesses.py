"""What the draft tokens of one sample come from, and where its answer goes for later ones."""

from __future__ import annotations

import sys

from santacoder.decoding.answers import CLIENT
from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.drafting import Drafter, Guessing, before_gap
from santacoder.decoding.guess_store import GuessStore
from santacoder.text.token_ids import TokenIds


class RequestGuesses:
    """Drafts for one sample of a request, once it has something to copy from.

    Attributes:
        client: whose request it is.
        answers: earlier answers to guess from, to which its own is added; None before it is submitted.
        look_at: tokens of the text before which there is no draft.
    """

    def __init__(self, request: CheckedRequest) -> None:
        """Prepare for a request, which may have no wish for drafts."""
        self._request = request
        self.client = CLIENT.get()
        self.answers: GuessStore | None = None
        self._guessing: Guessing | None = None
        self.forget_text()

    def take(self, guessing: Guessing) -> None:
        """Guess from the answers and from what a model's requests share, from now on."""
        self._guessing = guessing if self.answers is None else guessing.beside(self.answers)

    def forget_text(self) -> None:
        """Look at the text anew with the next draft."""
        self._drafter: Drafter | None = None
        self.look_at = 0 if self._request.params.lookup else sys.maxsize

    def after_fork(self) -> None:
        """Draft nothing any more, in a child: another thread may have been changing what is copied from."""
        self._guessing = self.answers = None

    def draft(self, ids: TokenIds, known: int, most: int, beside: int) -> int:
        """Write at most `most` draft tokens behind the `known` first of a text, and return how many.

        The array has room for all tokens of the text; `beside` is the number of rows of others in the step.
        """
        if self._guessing is None or most <= 0:
            return 0
        if self._drafter is None:
            self._drafter = Drafter(self._guessing, self._request.token_ids.size, ids.size, self._request.gap)
        draft_ids = self._drafter.propose(ids[:known], most, beside)
        self.look_at = self._drafter.look_at
        ids[known : known + draft_ids.size] = draft_ids
        return draft_ids.size

    def learn(self, proposed: int, right: int) -> None:
        """Count the result of a draft: the first `right` of its `proposed` tokens were right."""
        if self._drafter is not None:
            self._drafter.learn(proposed, right)

    def remember(self, answer: TokenIds) -> None:
        """Add the answer (N,) to the earlier ones, after its end."""
        prompt = self._request.token_ids
        if self.answers is None or not answer.size or not self._request.params.lookup:
            return
        self.answers.add(before_gap(prompt, prompt.size, self._request.gap))
        self.answers.add(answer)
        self.answers.end_text()
