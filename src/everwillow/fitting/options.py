"""The options of `fit` that every function which fits passes on."""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar, get_type_hints

import optimistix as optx

from everwillow._keywords import takes_keywords
from everwillow._typing import Key


P = ParamSpec("P")
R = TypeVar("R")


class FitOptions(TypedDict, total=False):
    """Options of `fit` that functions which fit take by keyword and pass on.

    Attributes:
        fixed: Parameters that are not fitted: key to value, or to ``...`` for the
            start value.
        bounds: For each bounded parameter an `Interval` or a transform.
        solver: An `optimistix.AbstractMinimiser`.
        max_steps: Largest number of evaluations of a fit.

    Example:
        >>> from typing import Unpack
        >>> from everwillow.fitting.options import FitOptions, takes_options
        >>> @takes_options(FitOptions)
        ... def fit_twice(nll_fn, **options: Unpack[FitOptions]):
        ...     return options
        >>> fit_twice(None, max_step=3)
        Traceback (most recent call last):
        everwillow...: fit_twice: there is no argument 'max_step'. Did you mean ...
    """

    fixed: Mapping[Key, Any] | None
    bounds: Mapping[Key, Any] | None
    solver: optx.AbstractMinimiser | None
    max_steps: int


class RefitOptions(TypedDict, total=False):
    """Options of functions that repeat a fit, with the same fixed parameters.

    Attributes:
        bounds: As in `FitOptions`.
        solver: As in `FitOptions`.
        max_steps: As in `FitOptions`.
    """

    bounds: Mapping[Key, Any] | None
    solver: optx.AbstractMinimiser | None
    max_steps: int


_DEFAULTS = {"max_steps": 256}


def takes_options(
    options: type[Mapping[str, Any]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function refuse keywords that are neither its own nor among the options.

    Its signature, as `help` and editors show it, lists the options with their defaults
    instead of ``**options``.

    Args:
        options: The typed dictionary that the last parameter of the function,
            ``**options``, unpacks.

    Raises:
        ArgumentTypeError: When the function is called with another keyword; the message
            names the nearest valid one.
    """
    return takes_keywords(
        (name, annotation, _DEFAULTS.get(name))
        for name, annotation in get_type_hints(options).items()
    )
