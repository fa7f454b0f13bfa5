"""What spey asks of the fast members of a back-end, as one record.

The contract says that they return ``(nll, pars)``. `spey.StatisticalModel` hands what
it gets to its user, for whom it promised ``nll``, or ``(best POI, nll)``. It always
passes ``init_pars`` and ``par_bounds``, by which its calls are told from others.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import ArgumentTypeError, ShapeMismatchError, unknown_key


@dataclasses.dataclass(frozen=True)
class Request:
    """The keywords of one call.

    Attributes:
        data: A vector of data in place of those that `expected` names, or None.
        init: Start values of the floating parameters, or None.
        bounds: Their lower and upper ends, or None.
        return_parameters: Whether to return them too.
        poi_indices: The parameters to return in place of the POI, or None.
        held: Parameters to hold, index or name to value.
        wrapped: Whether a `StatisticalModel` asks.
    """

    data: Any = None
    init: np.ndarray | None = None
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    return_parameters: bool = False
    poi_indices: Sequence[int | str] | None = None
    held: Mapping[int | str, float] = dataclasses.field(default_factory=dict)
    wrapped: bool = False

    @classmethod
    def of(
        cls, keywords: Mapping[str, Any], *, names: Sequence[str], poi: int
    ) -> "Request":
        """Read the keywords of a call.

        Args:
            keywords: What was given.
            names: The parameters.
            poi: Which of them is the POI.

        Raises:
            NotImplementedError: If a keyword is a setting of spey's own optimisers,
                which then are to do the fit.
        """
        rest = dict(keywords)
        wrapped = "init_pars" in rest or "par_bounds" in rest
        data = rest.pop("data", None)
        init = rest.pop("init_pars", None)
        bounds = rest.pop("par_bounds", None)
        parameters = bool(rest.pop("return_parameters", False))
        indices = rest.pop("poi_indices", None)
        held = rest.pop("fixed_poi_value", None)
        if rest:
            raise NotImplementedError(
                f"Left to spey's optimiser, whose settings these are: {sorted(rest)}."
            )
        if held is None:
            held = {}
        return cls(
            data=data,
            init=None if init is None else np.asarray(init, np.float64),
            bounds=None if bounds is None else _ends(bounds, len(names)),
            return_parameters=parameters,
            poi_indices=indices,
            held=held if isinstance(held, Mapping) else {poi: held},
            wrapped=wrapped,
        )


def _ends(bounds: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        pairs = [
            (-np.inf if low is None else low, np.inf if high is None else high)
            for low, high in bounds
        ]
        lower, upper = np.asarray(pairs, np.float64).reshape(-1, 2).T
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            "par_bounds: expected a pair of numbers or None for each parameter."
        ) from error
    if lower.size != count:
        raise ShapeMismatchError(
            f"par_bounds: expected {count} pairs, got {lower.size}."
        )
    return lower, upper


def position(name: int | str, names: Sequence[str], *, where: str) -> int:
    """Return the index of a parameter that is given by index or name.

    Raises:
        UnknownKeyError: If there is none.
    """
    if isinstance(name, str):
        if name not in names:
            raise unknown_key(name, names, where=where)
        return list(names).index(name)
    index = int(name)
    if not 0 <= index < len(names):
        raise unknown_key(index, range(len(names)), where=where)
    return index
