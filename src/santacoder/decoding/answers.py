"""Earlier answers, which later ones are guessed from: those of a session, of a server's client, of a model's caller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextvars import ContextVar
from typing import Final

from santacoder.decoding.guess_store import GuessStore

MOST_TOKENS: Final = 1 << 13  # of the answers of one client, which take 0.3 MB
MOST_CLIENTS: Final = 64

#: Whose the requests are that are made from here on: a client is served no faster by what others were answered.
CLIENT: Final[ContextVar[Hashable]] = ContextVar("client", default=None)


def new_answers() -> GuessStore:
    """Return a store for the answers of one client."""
    return GuessStore("answers", MOST_TOKENS)


class EarlierAnswers:
    """The newest answers of the clients that came last."""

    def __init__(self) -> None:
        self._stores: OrderedDict[Hashable, GuessStore] = OrderedDict()

    def of(self, client: Hashable) -> GuessStore:
        """Return the store of a client."""
        if client not in self._stores:
            self._stores[client] = new_answers()
        self._stores.move_to_end(client)
        if len(self._stores) > MOST_CLIENTS:
            self._stores.popitem(last=False)
        return self._stores[client]
