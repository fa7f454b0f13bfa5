"""The best fit from which impacts are computed, and the parameters in arguments."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._numerics import is_traced, namespace
from everwillow._typing import Key
from everwillow.engine.layout import Layout, float_dtype
from everwillow.engine.names import (
    as_names,
    meant_elements,
    named_elements,
    unknown_name,
)
from everwillow.fitting import FitResult
from everwillow.parameters import AbstractConstraint
from everwillow.uncertainty.evaluation_point import locate, refuse_batch
from everwillow.uncertainty.inversion import checked_inverse


class Fitted(NamedTuple):
    """The input of impacts from a fit.

    Attributes:
        result: The fit.
        constraints: The constraints of the parameters.
        hessian: The Hessian of the free parameters; None if there is a covariance.
        covariance: The covariance in place of the inverse Hessian, or None.
    """

    result: FitResult
    constraints: Mapping[Key, AbstractConstraint]
    hessian: Any
    covariance: Any

    @property
    def layout(self) -> Layout:
        """The structure of the parameters."""
        return self.result.layout

    @property
    def free(self) -> np.ndarray:
        """Positions of the free parameters among all."""
        return np.asarray(self.result.free, int)

    @property
    def curvature(self) -> tuple[Any, Any, Any, Any]:
        """The arguments of `covariance_from`."""
        result = self.result
        return self.hessian, result.at_bound, result.success, self.covariance


def fitted(result: Any, constraints: Any, covariance: Any) -> Fitted:
    """Check the arguments that all functions for impacts have.

    Raises:
        ArgumentTypeError: If `result` is not a FitResult.
        ArgumentValueError: If it has no Hessian and `covariance` is None.
    """
    if not isinstance(result, FitResult):
        raise ArgumentTypeError(
            f"result: expected the FitResult of the best fit, got "
            f"{type(result).__name__}. Fit first: result = ew.fit(...)."
        )
    refuse_batch(result, "for impacts")
    if constraints is None:
        constraints = result.constraints
    if covariance is None and result.hessian is None:
        raise ArgumentValueError(
            "covariance: needed, as this FitResult has none (its solver makes no "
            "Hessian). Give covariance_matrix(nll_fn, result, observation)."
        )
    if covariance is None:
        return Fitted(result, constraints, result.hessian, None)
    size = len(result.free)
    if np.shape(covariance) != (size, size):
        raise ArgumentValueError(
            f"covariance: its shape is {np.shape(covariance)}, and {size} parameters "
            "are free in the fit."
        )
    xp = namespace(covariance)
    return Fitted(result, constraints, None, xp.asarray(covariance, float_dtype()))


def computed(
    fit: Fitted, compute: Callable[[Fitted], Any], *, throw: bool
) -> tuple[Fitted, Any]:
    """Compute impacts, and raise if outside of a trace the fit has no covariance.

    Args:
        fit: The fit.
        compute: From a fit to a tuple of arrays, the first of which is not finite if
            the fit has no covariance.
        throw: Whether to raise.

    Returns:
        The fit, with its covariance if that was checked, and what was computed.

    Raises:
        NotPositiveDefiniteError: If the fit has no covariance.
    """
    out = compute(fit)
    if not throw or is_traced(out) or np.isfinite(out[0]).all():
        return fit, out
    if fit.hessian is not None and not is_traced(fit.hessian, fit.result.success):
        point = locate(fit.result, None)
        covariance = checked_inverse(fit.hessian, point, throw=True)
        fit = fit._replace(hessian=None, covariance=covariance)
    return fit, compute(fit)


# The beginning of warnings about parameters of interest at bounds.
HELD = "impacts: held at a bound: "


def warn_if_held(
    fit: Fitted, poi: np.ndarray, errors: Any, *, cure: str = "", stacklevel: int = 4
) -> None:
    """Warn on the host if a parameter of interest is held at a bound.

    Args:
        fit: The fit.
        poi: Positions of the parameters of interest.
        errors: Their errors, NaN for held parameters.
        cure: A remedy besides a wider range.
        stacklevel: Number of calls between the warning and the code of the user.
    """
    if is_traced(errors, fit.result.at_bound):
        return
    held = np.asarray(fit.result.at_bound)[poi] & np.isnan(np.asarray(errors))
    if held.any():
        names = ", ".join(np.asarray(fit.result.labels)[poi][held])
        warnings.warn(
            f"{HELD}{names}. A small shift of anything else does not move it from "
            "there, so to first order it has neither an error nor impacts, and all are "
            f"NaN. Fit with a wider range, bounds=...{cure}.",
            stacklevel=stacklevel,
        )


@contextlib.contextmanager
def held_is_known() -> Iterator[None]:
    """Suppress the warnings of `warn_if_held`, for callers that warn themselves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=HELD)
        yield


def chosen_poi(model: Any, poi: Any) -> Any:
    """Return the parameter of interest: the given one, or that of the Model.

    Raises:
        ArgumentValueError: If neither names one.
    """
    poi = getattr(model, "poi", None) if poi is None else poi
    if poi is None:
        raise ArgumentValueError(
            "poi: this Model names no parameter of interest. Give one, poi=..."
        )
    return poi


def positions(names: Any, fit: Fitted, *, where: str) -> np.ndarray:
    """Return the positions of named parameters among the free ones.

    Args:
        names: Keys or labels, one or several.
        fit: The fit.
        where: The argument, for messages.

    Raises:
        UnknownKeyError: If there is no such parameter.
        ArgumentValueError: If one is fixed, or `names` is empty.
    """
    layout = fit.layout
    place = _place(fit)
    chosen: list[int] = []
    for name in as_names(names, layout, where=where):
        elements = named_elements(name, layout)
        if elements is None:
            raise unknown_name(name, layout, where=where)
        here = place[elements]
        if here.size == 0 or np.any(here < 0):
            raise ArgumentValueError(
                f"{where}: the parameter {name!r} was fixed in the fit, so it has "
                "neither error nor impact. Free it, or leave it out."
            )
        chosen.extend(here.tolist())
    if not chosen:
        raise ArgumentValueError(f"{where}: name at least one parameter.")
    return np.asarray(chosen, int)


def only_position(poi: Any, fit: Fitted) -> np.ndarray:
    """Return the position of a parameter of interest of one element, shape ``(1,)``.

    Args:
        poi: Its key or label.
        fit: The fit.

    Raises:
        UnknownKeyError: If there is no such parameter.
        ArgumentValueError: If it is fixed, or has several elements.
    """
    place = positions(poi, fit, where="poi")
    if place.size != 1:
        raise ArgumentValueError(
            f"poi: {poi!r} has {place.size} elements; name one, such as "
            f"{fit.result.labels[place[0]]!r}."
        )
    return place


def matching(
    patterns: Any,
    fit: Fitted,
    *,
    where: str,
    exclude: np.ndarray | None = None,
    lenient: bool = False,
) -> np.ndarray:
    """Return the positions of the parameters that match some patterns, in State order.

    A pattern is an exact key or label, or else as in `fnmatch` (``"jes_*"``), compared
    with keys and labels; it skips parameters that are fixed.

    Args:
        patterns: One pattern or several.
        fit: The fit.
        where: The argument, for messages.
        exclude: Positions that patterns skip, such as those of the POIs.
        lenient: Whether names skip them, too, and the result may be empty.

    Raises:
        UnknownKeyError: If a pattern matches no parameter.
        ArgumentValueError: If no free parameter matches, or a name is excluded.
    """
    layout, place = fit.layout, _place(fit)
    chosen = np.zeros(layout.size, bool)
    named = np.zeros(layout.size, bool)
    for pattern in as_names(patterns, layout, where=where):
        meant = meant_elements(pattern, layout, where=where)
        chosen |= meant.marks
        if meant.named:
            named |= meant.marks
    skip = np.zeros(layout.size, bool)
    if exclude is not None:
        skip[fit.free[exclude]] = True
    if np.any(named & skip) and not lenient:
        names = ", ".join(np.asarray(layout.labels)[named & skip])
        raise ArgumentValueError(
            f"{where}: {names} cannot be a nuisance parameter and a POI at once."
        )
    matches = place[chosen & ~skip]
    matches = matches[matches >= 0]
    if matches.size == 0 and not lenient:
        raise ArgumentValueError(
            f"{where}: none of the parameters that {patterns!r} means is free."
        )
    return matches


def _place(fit: Fitted) -> np.ndarray:
    """Return the position of each element among the free ones, or -1."""
    place = np.full(fit.layout.size, -1)
    place[fit.free] = np.arange(len(fit.free))
    return place
