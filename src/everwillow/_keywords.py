"""A decorator for functions that pass keywords on: lists and checks them."""

import functools as ft
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from everwillow._errors import ArgumentTypeError, nearest


P = ParamSpec("P")
R = TypeVar("R")


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
                        f"{nearest(name, full.parameters)}"
                    )
            return function(*args, **kwargs)

        checked.__signature__ = full  # pyright: ignore[reportAttributeAccessIssue]
        return checked

    return decorate
