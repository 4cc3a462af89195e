"""The exceptions that santacoder raises on purpose: each message is one sentence that says what and why."""


class SantaCoderError(Exception):
    """Base of every error this package raises on purpose."""


class ModelFormatError(SantaCoderError):
    """The file is not a model that this package can run."""


class ModelNotFoundError(SantaCoderError, FileNotFoundError):
    """No model was named, and the one that ships in the package is missing from this installation."""


class SessionFormatError(SantaCoderError):
    """The file is not a session of this model."""


class AttributionIndexError(SantaCoderError):
    """The file is not an attribution index that this package can read, or it is damaged."""


class HubError(SantaCoderError, OSError):
    """The hub cannot give the file, and its local cache lacks it; `__cause__` is the hub's own error."""


class MissingPackageError(SantaCoderError, ImportError):
    """The request needs a package that is not installed."""


class ContextOverflowError(SantaCoderError):
    """The request needs more positions than the model's context has.

    Attributes:
        prompt_tokens: tokens of the prompt, or as many as it has at least; 0 where that is not known.
        context: positions that prompt and completion share; 0 likewise.
    """

    def __init__(self, message: str, prompt_tokens: int = 0, context: int = 0) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.context = context


class InvalidRequestError(SantaCoderError, ValueError):
    """An argument from the caller is out of range: a token id, a sampling value, a text."""


class UnsupportedISAError(SantaCoderError):
    """The instruction set that was asked for is unknown, or this CPU lacks it."""


class DeadlockError(SantaCoderError, RuntimeError):
    """The request would wait for its own thread: for an open stream of a session, or for the step it interrupted."""


class QueueFullError(SantaCoderError):
    """So many requests wait already that no more are taken; a later one may be."""


class QueueTimeoutError(SantaCoderError):
    """The request waited too long for its turn; nothing of it ran."""


class ModelClosedError(SantaCoderError):
    """The model or its file was used after close()."""


class NumericalError(SantaCoderError):
    """The model's logits hold a NaN or an infinity, so that no token can be chosen."""


class HookError(SantaCoderError):
    """A function of the caller, `logits_processor` or `stopping`, failed: `__cause__` is what it raised, if it did."""


class IsolationError(SantaCoderError):
    """Untrusted programs cannot be isolated on this machine, so none is run."""


class StepAbandonedError(Exception):
    """A step was given up halfway because nobody wants its results; its caches are as before. Internal."""
