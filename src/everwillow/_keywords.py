"""Decorators for keywords: list and check those passed on, take those renamed."""

import functools as ft
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from everwillow._errors import ArgumentTypeError, nearest


P = ParamSpec("P")
R = TypeVar("R")

# Words that functions have for one argument: each takes the one that says most there.
_SAME_ARGUMENT = (
    ("name", "names", "parameter", "parameters", "poi", "poi_key", "pois"),
    ("values", "scan", "points", "grid", "poi_values"),
    ("cl", "level", "confidence_level"),
    ("max_steps", "max_iterations", "max_iter", "maxiter"),
    ("fixed", "fix", "frozen"),
    ("observation", "data", "observed"),
    ("params", "start", "initial", "init"),
    ("n_toys", "ntoys", "num_toys", "toys"),
)


def takes_keywords(
    keywords: Iterable[tuple[str, Any, Any]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function refuse keywords other than its own and the given ones.

    Its signature, as `help` and editors show it, lists the given keywords with their
    defaults instead of its last parameter, ``**options``.

    Args:
        keywords: The name, annotation and default of each keyword.
    """
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, annotation, default in keywords
    ]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        full = signature.replace(parameters=[*own, *more])

        @ft.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in full.parameters:
                    raise ArgumentTypeError(
                        f"{function.__name__}: there is no argument {name!r}."
                        f"{_hint(name, full.parameters)}"
                    )
            return function(*args, **kwargs)

        checked.__signature__ = full  # pyright: ignore[reportAttributeAccessIssue]
        return checked

    return decorate


def renamed_keywords(
    **renamed: str | tuple[str, Callable[[Any], Any]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function take the old names of its keywords, with a `FutureWarning`.

    It is the outermost decorator, so that the warning shows the line of the caller.
    The signature has the new names only.

    Args:
        **renamed: The new name of each old one; or the new name and a function from the
            old value to the new one, where the meaning has changed too.

    Example:
        >>> import warnings
        >>> @renamed_keywords(level=("cl", lambda level: 1.0 - level))
        ... def limit(*, cl=0.95):
        ...     return cl
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     print(limit(level=0.25))
        0.75
        >>> print(caught[0].message)
        limit: the argument 'level' is now called 'cl'. Write cl=0.75.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @ft.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            if renamed.keys().isdisjoint(kwargs):
                return function(*args, **kwargs)
            return function(*args, **_with_new_names(function, kwargs, renamed))

        return call

    return decorate


def renamed_attribute(new: str) -> Any:
    """Return a property that is another attribute, and warns of its new name.

    Args:
        new: The new name.

    Example:
        >>> class Record:
        ...     count = 3
        ...     ntoys = renamed_attribute("count")
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     Record().ntoys
        3
    """

    class Renamed:
        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            warnings.warn(
                f"{type(instance).__name__}: the attribute {self.name!r} is now called "
                f"{new!r}.",
                FutureWarning,
                stacklevel=2,
            )
            return getattr(instance, new)

    return Renamed()


def also_called(**others: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function take other names of its keywords, for good.

    Args:
        **others: The keyword that each other name stands for.

    Raises:
        ArgumentTypeError: When the function is called with both names.

    Example:
        >>> @also_called(poi="poi_key")
        ... def test(poi_key):
        ...     return poi_key
        >>> test(poi="mu")
        'mu'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @ft.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            for other in kwargs.keys() & others.keys():
                if others[other] in kwargs:
                    raise _both(function, other, others[other])
                kwargs[others[other]] = kwargs.pop(other)
            return function(*args, **kwargs)

        return call

    return decorate


def _hint(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the keyword that is meant, or nothing."""
    known = tuple(known)
    for words in _SAME_ARGUMENT:
        if name in words:
            for word in words:
                if word in known:
                    return f" Write {word}=..."
    return nearest(name, known)


def _both(function: Callable[..., Any], one: str, other: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"the arguments {one!r} and {other!r} are one. Give {other!r} only.",
        argument=function.__name__,
    )


def _with_new_names(
    function: Callable[..., Any],
    given: dict[str, Any],
    renamed: dict[str, str | tuple[str, Callable[[Any], Any]]],
) -> dict[str, Any]:
    called: dict[str, Any] = {
        name: v for name, v in given.items() if name not in renamed
    }
    for old in given.keys() & renamed.keys():
        entry = renamed[old]
        new, convert = (entry, None) if isinstance(entry, str) else entry
        if new in called:
            raise _both(function, old, new)
        called[new] = given[old] if convert is None else convert(given[old])
        write = repr(new) if convert is None else f"{new}={called[new]!r}"
        warnings.warn(
            f"{function.__name__}: the argument {old!r} is now called {new!r}. "
            f"Write {write}.",
            FutureWarning,
            stacklevel=3,
        )
    return called
