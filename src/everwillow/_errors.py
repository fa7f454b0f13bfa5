"""The exceptions of everwillow and the status codes of its solvers.

Three tiers of failure: bad input raises a subclass of `EverwillowError` that is also
the builtin exception it refines; wrong structure fails while tracing; what happens at
run time comes back as a `RESULTS` code and is never thrown by compiled code.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias


if TYPE_CHECKING:
    from everwillow._results import RESULTS as RESULTS


Spelling: TypeAlias = Callable[[str, Any], str]
"""How an argument is written, from its name and value; ``...`` is any value."""

# "name: problem. mend.", where an entry in brackets may follow the name.
_HEAD = re.compile(r"([A-Za-z_]\w*)((?:\[[^\]\n]*\])*): (?=\S)")
_SENTENCE_END = re.compile(r"(?<=[.?!]) (?=\S)")


class NameOnly:
    """Marks an argument that a message names without a value."""


def in_python(name: str, value: Any) -> str:
    """Write an argument as in a call of Python.

    Example:
        >>> [in_python("limits", value) for value in ("mu", ..., NameOnly)]
        ["limits='mu'", 'limits=...', 'limits']
    """
    if value is NameOnly:
        return name
    return f"{name}=..." if value is ... else f"{name}={value!r}"


class EverwillowError(Exception):
    """Base class of every exception that everwillow raises on purpose.

    A message has three parts, which are attributes, so that it can be shown in other
    words: the command has options instead of arguments.

    A single text is split by a rule. The argument is a name, with or without entries in
    brackets, and a colon at the beginning; the problem is the first sentence that
    follows; the remaining sentences say how to mend it. ``"fixed: there is no 'a'. Use
    'b'."`` has the argument ``fixed``, the problem ``there is no 'a'.`` and the mend
    ``Use 'b'.``

    Args:
        message: The whole message; without the argument, if `argument` is given.
        argument: The wrong argument, if the message does not begin with it.
        where: The place in the argument, such as ``"['a']"``; follows its name.
        mend: How to mend it; sentences at the end of the message.
        settings: Other arguments that the message names, and values for them (``...``
            for any, `NameOnly` for none): ``{name}`` in it becomes ``name=value``.

    Attributes:
        argument: The wrong argument; empty if the error is not about an argument.
        where: The place in the argument; mostly empty.
        problem: The problem.
        mend: How to mend it; may be empty.

    Example:
        >>> error = ArgumentValueError(
        ...     "none is free.",
        ...     argument="limits",
        ...     mend="Say which: {minos}.",
        ...     settings={"minos": "mu"},
        ... )
        >>> str(error)
        "limits: none is free. Say which: minos='mu'."
    """

    argument: str
    where: str
    problem: str
    mend: str

    def __init__(
        self,
        message: str = "",
        *,
        argument: str = "",
        where: str = "",
        mend: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        message = str(message)
        head = None if argument else _HEAD.match(message)
        if head is not None:
            argument, where = head.groups()
            message = message[head.end() :]
        problem, *rest = _SENTENCE_END.split(message, 1)
        self._settings = dict(settings or {})
        self._texts = (problem, " ".join([*rest, *([mend] if mend else [])]))
        self.argument, self.where = argument, where
        self.problem, self.mend = (self._filled(t, in_python) for t in self._texts)
        super().__init__(self.worded(in_python))

    def worded(
        self, spell: Spelling, begin: Callable[[str, str], str] = "{}{}".format
    ) -> str:
        """Return the message with arguments spelled in another way.

        Args:
            spell: Spells an argument that the message names.
            begin: Spells the wrong argument, from its name and the place in it.
        """
        text = self._filled(" ".join(filter(None, self._texts)), spell)
        return f"{begin(self.argument, self.where)}: {text}" if self.argument else text

    def add(self, sentence: str) -> None:
        """Add a sentence to how the problem is mended."""
        problem, mend = self._texts
        self._texts = (problem, f"{mend} {sentence}".strip())
        self.mend = f"{self.mend} {sentence}".strip()
        self.args = (self.worded(in_python), *self.args[1:])

    def __str__(self) -> str:
        # Not the repr of the text, which `KeyError` shows.
        return str(self.args[0]) if self.args else ""

    def _filled(self, text: str, spell: Spelling) -> str:
        for name, value in self._settings.items():
            text = text.replace(f"{{{name}}}", spell(name, value))
        return text


class ArgumentTypeError(EverwillowError, TypeError):
    """An argument has the wrong type."""


class ArgumentValueError(EverwillowError, ValueError):
    """An argument has the right type and a value that cannot be used."""


class UnknownKeyError(EverwillowError, KeyError):
    """A key names no entry of the State it is looked up in."""


class KeyCollisionError(EverwillowError, ValueError):
    """Two entries would have one key."""


class ShapeMismatchError(EverwillowError, ValueError):
    """Values that should have one shape and dtype kind do not."""


class NonFiniteError(EverwillowError, ValueError):
    """A likelihood or a parameter is NaN or infinite where it must be a number."""


class NotPositiveDefiniteError(EverwillowError, ValueError):
    """A Hessian or a covariance matrix is not positive definite."""


class DerivativeError(EverwillowError, TypeError):
    """A likelihood does not have derivatives that are needed."""


class TracingError(EverwillowError, TypeError):
    """A function of the user needs numbers where JAX traces it, and there are none."""


class ConflictError(EverwillowError, ValueError):
    """Two models have different properties of the same parameter."""


class CheckpointError(EverwillowError, RuntimeError):
    """A checkpoint is damaged, or belongs to another fit."""


class SpecificationError(EverwillowError, ValueError):
    """A document that describes a model violates its format.

    Attributes:
        pointer: The place inside the document as a JSON pointer (RFC 6901), such as
            ``"/channels/0/name"``; empty for the whole of it.
    """

    pointer: str

    def __init__(self, message: str, pointer: str = "", **parts: Any) -> None:
        super().__init__(message, **parts)
        self.pointer = pointer


class MissingFileError(EverwillowError, FileNotFoundError):
    """There is no file of that name."""


class MissingPackageError(EverwillowError, ImportError):
    """An optional package that an extra brings cannot be imported."""


class NoLimitError(ArgumentValueError, RuntimeError):
    """There is no limit where it was looked for, which depends on computed values."""


class FitError(EverwillowError, RuntimeError):
    """A fit ended without a minimum.

    Attributes:
        result: The `FitResult` at the end of the failed fit, or None if there is none.
    """

    result: Any

    def __init__(self, message: str, result: Any = None, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.result = result


def __getattr__(name: str) -> Any:
    """Import the status codes at first use, as they need JAX."""
    if name == "RESULTS":
        from everwillow._results import RESULTS  # noqa: PLC0415

        return RESULTS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``" Did you mean ...?"`` with the closest known names, or nothing."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=3)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def first_names(names: Sequence[str], most: int = 8) -> str:
    """Return the first names of a list, and ``...`` where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def missing_package(need: str, *extras: str) -> MissingPackageError:
    """Build the error for an optional package that cannot be imported.

    Args:
        need: What needs which package, ``"HDF5 files need h5py"``.
        extras: The extras of everwillow that bring it; the first is recommended.

    Example:
        >>> print(missing_package("HDF5 files need h5py", "io"))
        HDF5 files need h5py, which cannot be imported here. To install it, run pip
        install ".[io]" in a checkout of everwillow.
    """
    first, *others = (f'".[{extra}]"' for extra in extras)
    # A package index may have another project of this name, so no line names it.
    more = f" (or {' or '.join(others)})" if others else ""
    return MissingPackageError(
        f"{need}, which cannot be imported here.",
        mend=f"To install it, run pip install {first}{more} in a checkout of "
        "everwillow.",
    )


def unknown_key(
    key: object, known: Iterable[object], *, where: str, kind: str = "parameter"
) -> UnknownKeyError:
    """Build the error for a `key` that `where` does not have.

    Args:
        key: The unknown key.
        known: The valid keys.
        where: The mapping or argument without that key, for example ``"fixed"``.
        kind: The kind of object that the keys name.
    """
    known = list(known)
    hint = nearest(key, known)
    if not hint:
        shown = ", ".join(repr(k) for k in known[:10])
        more = f", ... ({len(known)} in all)" if len(known) > 10 else ""
        hint = f" The valid keys are: {shown}{more}." if known else " There is none."
    return UnknownKeyError(f"{where}: there is no {kind} {key!r}.{hint}")
