"""The exceptions of everwillow and the status codes of its solvers.

Three tiers of failure: bad input raises a subclass of `EverwillowError` that is also
the builtin exception it refines; wrong structure fails while tracing; what happens at
run time comes back as a `RESULTS` code and is never thrown by compiled code.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from everwillow._results import RESULTS as RESULTS


class EverwillowError(Exception):
    """Base class of every exception that everwillow raises on purpose."""

    def __str__(self) -> str:
        # `KeyError` shows the repr of its argument, which spoils a message of several
        # lines; every error of this tree shows its text.
        return str(self.args[0]) if self.args else ""


class ArgumentTypeError(EverwillowError, TypeError):
    """An argument has the wrong type."""


class ArgumentValueError(EverwillowError, ValueError):
    """An argument has the right type and a value that cannot be used."""


class UnknownKeyError(EverwillowError, KeyError):
    """A key names no entry of the State it is looked up in."""


class KeyCollisionError(EverwillowError, ValueError):
    """Two entries would land on one key."""


class ShapeMismatchError(EverwillowError, ValueError):
    """Values that should have one shape and dtype kind do not."""


class NonFiniteError(EverwillowError, ValueError):
    """A likelihood or a parameter is NaN or infinite where it must be a number."""


class NotPositiveDefiniteError(EverwillowError, ValueError):
    """A Hessian or a covariance matrix is not positive definite."""


class DerivativeError(EverwillowError, TypeError):
    """A likelihood has not the derivatives that something needs."""


class ConflictError(EverwillowError, ValueError):
    """Two models say different things of the same parameter."""


class CheckpointError(EverwillowError, RuntimeError):
    """A checkpoint does not belong to the fit that wants to continue from it."""


class SpecificationError(EverwillowError, ValueError):
    """A document that describes a model is not what its format asks for.

    Attributes:
        pointer: The place inside the document as a JSON pointer (RFC 6901), such as
            ``"/channels/0/name"``; empty for the whole of it.
    """

    pointer: str

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class MissingFileError(EverwillowError, FileNotFoundError):
    """There is no file of that name."""


class FitError(EverwillowError, RuntimeError):
    """A fit ended without a minimum.

    Attributes:
        result: The `FitResult` as far as the fit came, or None if there is none.
    """

    result: Any

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


def __getattr__(name: str) -> Any:
    """Import the status codes when they are first asked for: they need JAX."""
    if name == "RESULTS":
        from everwillow._results import RESULTS  # noqa: PLC0415

        return RESULTS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``" Did you mean ...?"`` with the closest known names, or nothing."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=3)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def unknown_key(
    key: object, known: Iterable[object], *, where: str, what: str = "parameter"
) -> UnknownKeyError:
    """Build the error for a `key` that `where` does not have.

    Args:
        key: The key that was asked for.
        known: The valid keys.
        where: What was looked into, for example ``"fixed"``.
        what: What kind of thing has such keys.
    """
    known = list(known)
    hint = nearest(key, known)
    if not hint:
        shown = ", ".join(repr(k) for k in known[:10])
        more = f", ... ({len(known)} in all)" if len(known) > 10 else ""
        hint = f" The valid keys are: {shown}{more}." if known else " There is none."
    return UnknownKeyError(f"{where}: there is no {what} {key!r}.{hint}")
