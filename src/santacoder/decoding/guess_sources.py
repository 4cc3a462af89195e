"""What a model's requests guess from: the costs of its steps, earlier answers, and the user's project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from santacoder.decoding.answers import EarlierAnswers
from santacoder.decoding.drafting import Guessing, Source
from santacoder.decoding.guess_lengths import StepCosts
from santacoder.decoding.request_guesses import RequestGuesses


class Project(Source, Protocol):
    """The user's files: see `ProjectIndex`."""

    def look(self) -> None: ...
    def close(self) -> None: ...


class GuessSources:
    """What all requests of a model share, and each client's answers.

    Attributes:
        costs: those of the steps that happened.
        guessing: costs, chances and the project.
        answers: of each client.
        project: the user's files.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.costs = StepCosts()
        self.guessing = Guessing(self.costs)
        self.answers = EarlierAnswers()
        self.project: Project | None = None

    def guess_from(self, project: Project | None) -> None:
        """Take draft tokens from the files of this project from now on, in place of those of another."""
        before, self.project = self.project, project
        self.guessing.sources = () if project is None else (project,)
        if before is not None:
            before.close()

    def look(self) -> None:
        """Have the project's files looked at again, if it is time."""
        project = self.project
        if project is not None:
            project.look()

    def serve(self, requests: Iterable[RequestGuesses]) -> None:
        """Give requests what they guess from."""
        for request in requests:
            if request.answers is None:
                request.answers = self.answers.of(request.client)
            request.take(self.guessing)

    def forget_answers(self) -> None:
        """Forget earlier answers; in a forked child, somebody may have been changing them."""
        self.answers = EarlierAnswers()
