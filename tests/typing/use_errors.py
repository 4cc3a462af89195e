"""Errors as users catch them; checked by mypy and pyright, never run."""

import santacoder
from santacoder import SantaCoderError


def errors() -> None:
    try:
        santacoder.load("m.gguf").complete("x")
    except santacoder.ModelFormatError as error:
        base: SantaCoderError = error
        print(base)
    except (santacoder.ContextOverflowError, santacoder.NumericalError, santacoder.ModelClosedError) as error:
        base = error
    except (santacoder.SessionFormatError, santacoder.UnsupportedISAError, santacoder.IsolationError) as error:
        base = error

    # Those that are Python's own too.
    found: FileNotFoundError = santacoder.ModelNotFoundError()
    system: OSError = santacoder.HubError()
    package: ImportError = santacoder.MissingPackageError()
    value: ValueError = santacoder.InvalidRequestError()
    running: RuntimeError = santacoder.DeadlockError()
    print(found, system, package, value, running)

    wrong: ValueError = santacoder.ModelFormatError()  # type: ignore[assignment]
    print(wrong)
    print(santacoder.SantaError)  # type: ignore[attr-defined]
