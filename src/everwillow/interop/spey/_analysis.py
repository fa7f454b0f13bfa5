"""A model with its parameter of interest, and the data and fits that spey needs."""

import dataclasses
import functools as ft
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FitError,
    NonFiniteError,
    ShapeMismatchError,
    SpecificationError,
    unknown_key,
)
from everwillow._typing import Key
from everwillow.combination import CombinedModel, combine
from everwillow.interop.spey._data import DataForms, flattened
from everwillow.interop.spey._fits import DataSet, Fits, Question
from everwillow.model import AbstractModel
from everwillow.parameters import Interval


# Test statistics whose best fit may be negative; in the others it is bounded at 0.
UNBOUNDED = ("q", "qmu")
_BOUNDED = ("qtilde", "qmutilde", "q0", "qmu_left")
# Number of data sets given by value whose fits are kept, enough for toys.
_MOST_GIVEN = 8


@dataclasses.dataclass(frozen=True)
class Request:
    """The keywords of one call.

    Attributes:
        data: A vector of data in place of those of `expected`, or None.
        init: Start values of the floating parameters, or None.
        bounds: Their lower and upper bounds, or None.
        return_parameters: Whether to return the parameters, too.
        poi_indices: The parameters to return in place of the POI, or None.
        held: Parameters to hold, index or name to value.
        wrapped: Whether a `StatisticalModel` makes the call.
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
            keywords: The keywords that were given.
            names: The parameters.
            poi: The index of the POI among them.

        Raises:
            NotImplementedError: If a keyword is a setting of spey's optimisers, which
                make the fit then.
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
    """Return the index of a parameter from its index or name.

    Raises:
        UnknownKeyError: If there is no such parameter.
    """
    if isinstance(name, str):
        if name not in names:
            raise unknown_key(name, names, where=where)
        return list(names).index(name)
    index = int(name)
    if not 0 <= index < len(names):
        raise unknown_key(index, range(len(names)), where=where)
    return index


class Analysis:
    """The fits of a back-end.

    Attributes:
        model: The model.
        poi: Key of its parameter of interest.
        auxiliary_asimov: The auxiliary data of Asimov sets: fitted or nominal.
        fits: The fits of the model.
        forms: The forms of its data as vectors.
    """

    def __init__(
        self, model: AbstractModel, poi: Key, *, auxiliary_asimov: str
    ) -> None:
        if auxiliary_asimov not in ("fitted", "nominal"):
            raise ArgumentValueError(
                f"auxiliary_asimov: expected 'fitted' or 'nominal', got "
                f"{auxiliary_asimov!r}."
            )
        self.model = model
        self.poi = poi
        self.auxiliary_asimov = auxiliary_asimov
        self.fits = Fits(model, poi)
        self.forms = DataForms(model)
        self._sets: dict[Any, DataSet] = {}
        self._given: dict[bytes, DataSet] = {}

    @property
    def auxiliary_fitted(self) -> bool:
        """Whether Asimov sets contain auxiliary data."""
        return self.auxiliary_asimov == "fitted"

    @property
    def is_alive(self) -> bool:
        """Whether the expected data depend on the POI."""
        return bool(np.any(self._yields[1] != 0.0))

    @ft.cached_property
    def _yields(self) -> tuple[np.ndarray, np.ndarray]:
        """The expected data without signal, and the contribution of the signal."""
        background = self._main(0.0)
        return background, self._main(1.0) - background

    @ft.cached_property
    def minimum_poi(self) -> float:
        """The POI at which the expected data of a bin vanish, or its lower bound.

        The nuisance parameters are at their nominal values. It is the lower bound of
        the model if the expected data are not linear in the POI.
        """
        bound = self.model.bounds.get(self.poi)
        lowest = -np.inf
        if isinstance(bound, Interval):
            lowest = float(np.asarray(bound.lower))
        try:
            background, signal = self._yields
            linear = np.allclose(self._main(2.0), background + 2 * signal, rtol=1e-6)
        except SpecificationError:
            # A model that cannot predict its data can still be fitted.
            return lowest
        grows = signal > 0.0
        if linear and grows.any():
            return 0.0 - float(np.min(background[grows] / signal[grows]))
        return -np.inf if linear else lowest

    def _main(self, value: float) -> np.ndarray:
        vector = self.fits.nominal.copy()
        vector[self.fits.place] = value
        return flattened(self.fits.asimov(vector), auxiliary=False)

    def request(self, keywords: Mapping[str, Any]) -> Request:
        """Read the keywords of a call.

        Raises:
            NotImplementedError: If spey's optimiser makes the fit.
        """
        request = Request.of(keywords, names=self.fits.labels, poi=self.fits.index)
        if request.wrapped and not self.auxiliary_fitted:
            # The published numbers contain the errors of its fits.
            raise NotImplementedError(
                "Left to spey's optimiser: the auxiliary data of Asimov sets."
            )
        return request

    def data(self, expected: Any, given: Any = None) -> DataSet:
        """Return the data of spey's `expected`, or those in the request.

        ``apriori`` is the prediction without signal, with the nuisance parameters at
        the values of their auxiliary measurements; otherwise it is the observed data.
        """
        if given is not None:
            return self._by_value(given)
        a_priori = _is_a_priori(expected)
        if a_priori not in self._sets:
            if a_priori:
                made = self.fits.asimov(self.fits.nominal)
                data_set = DataSet("the data expected a priori", made)
            else:
                data_set = DataSet("the observed data", self.model.observation)
            self._sets[a_priori] = data_set
        return self._sets[a_priori]

    def asimov(self, expected: Any, test_statistic: str) -> DataSet:
        """Return the Asimov set of a test statistic, made once.

        Its parameters are those of the best fit of the data without signal, or, for
        the discovery statistic ``"q0"``, with the nominal one.
        """
        if test_statistic not in (*UNBOUNDED, *_BOUNDED):
            raise ArgumentValueError(
                f"test_statistics: expected one of {(*UNBOUNDED, *_BOUNDED)}, got "
                f"{test_statistic!r}."
            )
        value = 1.0 if test_statistic == "q0" else 0.0
        key = (_is_a_priori(expected), value)
        if key not in self._sets:
            data = self.data(expected)
            point = self.fits.ask(data, Question(held=((self.fits.index, value),)))
            made = self.fits.asimov(point.vector)
            if not self.auxiliary_fitted:
                made = {**made, "aux": self.model.observation["aux"]}
            label = f"the Asimov set of {data.label} at {self.poi} = {value:g}"
            data_set = DataSet(label, made)
            # The start of its fits, which is also the end with fitted auxiliary data.
            data_set.keep("made", point)
            self._sets[key] = data_set
        return self._sets[key]

    def _by_value(self, given: Any) -> DataSet:
        observation = self.forms.observation(given)
        key = np.asarray(given, np.float64).tobytes()
        data_set = self._given.pop(key, None)
        if data_set is None:
            data_set = DataSet("the data given", observation)
            # Toys are similar to the data that were fitted before.
            known = (d.nearest(self.fits.place, None) for d in self._sets.values())
            for point in filter(None, known):
                data_set.keep("near", point)
        self._given[key] = data_set
        while len(self._given) > _MOST_GIVEN:
            self._given.pop(next(iter(self._given)))
        return data_set

    def profiled(self, data: DataSet, poi_test: Any, request: Request) -> Any:
        """Return the result of a fit with parameters held."""
        point = self.fits.ask(data, _question(self.fits, request, -np.inf, poi_test))
        pars = point.vector[self.fits.free]
        if request.wrapped and not request.return_parameters:
            return point.nll
        return point.nll, pars

    def minimised(self, data: DataSet, request: Request, *, negative: bool) -> Any:
        """Return the result of the best fit."""
        lower = self.minimum_poi if negative else 0.0
        question = _question(self.fits, request, lower, request.held)
        try:
            point = self.fits.ask(data, question)
        except FitError:
            if self.is_alive:
                raise
            # Without a signal every value of the POI is a best fit.
            held = {self.fits.index: 0.0} | dict(question.held)
            point = self.fits.ask(data, _question(self.fits, request, lower, held))
        pars = point.vector[self.fits.free]
        if not request.wrapped:
            return point.nll, pars
        if request.poi_indices is None:
            return float(pars[self.fits.index]), point.nll
        chosen = {
            name: float(pars[position(name, self.fits.labels, where="poi_indices")])
            for name in request.poi_indices
        }
        return chosen, point.nll


def _question(fits: Fits, request: Request, lower: float, held: Any) -> Question:
    if not isinstance(held, Mapping):
        held = {fits.index: held}
    places = {}
    for name, value in held.items():
        index = position(name, fits.labels, where="poi_test")
        places[index] = _number(value, name)
    return Question(
        held=tuple(sorted(places.items())),
        lower=lower,
        init=request.init,
        bounds=request.bounds,
    )


def _is_a_priori(expected: Any) -> bool:
    return str(expected) == "apriori"


def _number(value: Any, name: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"poi_test: the value of {name!r} must be a number, got {value!r}."
        ) from error
    if not np.isfinite(number):
        raise NonFiniteError(
            f"poi_test: the value of {name!r} is {number}; it must be finite."
        )
    return number


def joint_model(
    one: Analysis, other: Analysis, options: Mapping[str, Any]
) -> CombinedModel:
    """Return the joint model of two analyses, their parameters of interest shared.

    Args:
        one: An analysis, whose POI is that of the result.
        other: The other one.
        options: The options of `everwillow.combine`.
    """
    known = ("bounds", "constraints", "correlate", "rename", "shared")
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentTypeError(
            f"combine: there is no option {unknown[0]!r}; it takes {', '.join(known)}, "
            "which are those of everwillow.combine."
        )
    chosen = dict(options)
    if other.poi != one.poi:
        chosen.setdefault("rename", {1: {other.poi: one.poi}})
    # The range of the best fit in each file is not used.
    chosen["bounds"] = {one.poi: one.model.bounds.get(one.poi)} | dict(
        chosen.get("bounds") or {}
    )
    return combine([one.model, other.model], **chosen)
