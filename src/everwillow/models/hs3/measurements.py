"""Identification of auxiliary measurements of parameters, each of which counts once.

A Gaussian of a global observable is a constraint for any order of its two arguments,
and anywhere in the document. The observed argument is found from the names: numbers and
global observables are observed, parameters of the likelihood are not.

Spec: HS3 0.2, section 2.4 (auxiliary measurements and global observables).
"""

import enum
import functools as ft
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from everwillow.likelihood.binned.spec import ConstraintSpec, ParameterSpec
from everwillow.models._document import Node
from everwillow.models.hs3.data import PointData, read_data
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.expressions.linear import Linear, LinearReader
from everwillow.models.hs3.parameters import Joint, Parameters
from everwillow.models.hs3.selection import Selection


GAUSSIAN = ("gaussian_dist", "normal_dist")


class _Rank(enum.IntEnum):
    """The certainty that an argument was observed; of two the lower rank is."""

    NUMBER = 0  # a number, not a name
    DECLARED = 1  # listed as a global observable
    NEW = 2  # none of a parameter or function
    CONSTANT = 3  # constant in the parameter points
    UNUSED = 4  # nothing else depends on it
    SHARED = 5  # observed, and the likelihood depends on it otherwise too


@dataclass(frozen=True)
class Single:
    """An auxiliary measurement of one parameter."""

    parameter: str
    spec: ConstraintSpec


Measurement: TypeAlias = Single | Joint


@dataclass(frozen=True)
class _Side:
    """One of the two arguments of a density.

    Attributes:
        rank: The certainty that it was observed, None if it cannot be.
        datum: The observed value; None if it is not known.
        parameter: The parameter if it was not observed, or None.
        offset: The number that a function adds to the parameter.
        sign: The sign that a function gives the parameter, 1 or -1.
    """

    rank: _Rank | None
    datum: float | None = None
    parameter: str | None = None
    offset: float = 0.0
    sign: float = 1.0


@dataclass(frozen=True)
class Names:
    """Distinguishes observed numbers of auxiliary distributions from parameters.

    Attributes:
        document: The document.
        selection: The analysis.
        used: Names on which the main likelihood depends.
        candidates: The distributions that may be auxiliary measurements.
    """

    document: Document
    selection: Selection
    used: Collection[str]
    candidates: Collection[Node]

    def observed(self, name: str) -> float | None:
        """Return the value of a name that can only be data."""
        rank = self.rank(name)
        return None if rank in (None, _Rank.NEW, _Rank.SHARED) else self.value(name)

    def value(self, name: str) -> float | None:
        """Return the value of a name in the document."""
        observed = self.selection.aux_data.values
        if name in observed:
            return observed[name]
        point = self.selection.points.get(name)
        return None if point is None else point.value

    def constant(self, name: str) -> float | None:
        """Return the value of a constant that is not in the main likelihood."""
        rank = self.rank(name)
        return self.value(name) if rank in (_Rank.DECLARED, _Rank.CONSTANT) else None

    def rank(self, name: str) -> _Rank | None:
        """Return the certainty that a name was observed."""
        aux, point = self.selection.aux_data, self.selection.points.get(name)
        if point is None and name not in aux.values:
            return None
        declared = name in aux.values or name in aux.names
        constant = point is not None and point.const
        if name in self.used:
            return _Rank.SHARED if declared or constant else None
        if declared:
            return _Rank.DECLARED
        if constant:
            return _Rank.CONSTANT
        return _Rank.UNUSED if self._mentions[name] == 1 else None

    def is_new(self, name: str) -> bool:
        """Return whether a name is neither a parameter nor a function."""
        return (
            name not in self.used
            and name not in self.selection.points
            and name not in self.selection.bounds
            and self.linear.function_name(name) is None
        )

    @ft.cached_property
    def linear(self) -> LinearReader:
        """Reads functions that are linear in parameters."""
        return LinearReader(self.document.functions, self.constant)

    @ft.cached_property
    def _mentions(self) -> Counter[str]:
        arguments = [
            item
            for node in self.candidates
            for key in ("x", "mean")
            for item in _listed(node.value.get(key))
        ]
        return Counter(item for item in arguments if isinstance(item, str))

    def side(self, reference: str | float, *, variate: bool = False) -> _Side:
        """Return the possible roles of an argument of a density."""
        if not isinstance(reference, str):
            return _Side(_Rank.NUMBER, float(reference))
        if self.linear.function_name(reference) is None:
            new = variate and self.is_new(reference)
            rank = _Rank.NEW if new else self.rank(reference)
            return _Side(rank, self.value(reference), reference)
        form = self.linear.reference(reference)
        if form is None or len(form.slopes) > 1:
            return _Side(None)
        if not form.slopes:
            return _Side(_Rank.NUMBER, form.offset)
        ((parameter, slope),) = form.slopes.items()
        if abs(slope) != 1.0:
            return _Side(None)
        return _Side(None, None, parameter, form.offset, slope)

    def number(self, reference: str | float) -> float | None:
        """Return the value of a constant, such as a width."""
        form = self.linear.reference(reference)
        return None if form is None or form.slopes else form.offset

    def scaled(self, reference: str | float) -> tuple[str, float] | None:
        """Return the parameter and the factor of a term proportional to a parameter."""
        if isinstance(reference, str) and not self.linear.function_name(reference):
            return reference, 1.0
        return proportional(self.linear.reference(reference))

    def say(self, side: _Side, reference: str | float) -> None:
        """Report the assumption that a name is data."""
        if side.rank == _Rank.UNUSED:
            self.document.report.collect(
                "{names} are observed values of auxiliary distributions, although "
                "they are not constant in the document.",
                str(reference),
            )
        elif side.rank == _Rank.SHARED:
            self.document.report.collect(
                "The constants {names} are observed values of auxiliary distributions "
                "and enter the likelihood otherwise too; Asimov data and toys move "
                "only what was observed.",
                str(reference),
            )


def measurement(
    node: Node, names: Names, *, observed: float | None = None
) -> Measurement | None:
    """Return a distribution as an auxiliary measurement.

    It can be a Gaussian of an observed number and a parameter (in any order, as it is
    symmetric), of one or of several variables; a Poisson of an observed count, whose
    mean is a parameter times constants; or a log-normal of an observed number, whose
    `mu` is the logarithm of a parameter.

    Args:
        node: The distribution.
        names: The names, which distinguish data from parameters.
        observed: The value of its variate, if the likelihood has one.

    Returns:
        The measurement, None if it is none of these.
    """
    kind = node.type
    if kind in GAUSSIAN:
        return _gaussian(node, names, observed)
    if kind == "poisson_dist":
        return _poisson(node, names, observed)
    if kind == "lognormal_dist":
        return _log_normal(node, names, observed)
    if kind == "multivariate_normal_dist" and observed is None:
        return _multivariate(node, names)
    return None


def proportional(form: Linear | None) -> tuple[str, float] | None:
    """Return the parameter and the factor of a function proportional to it."""
    if form is None or form.offset != 0.0 or len(form.slopes) != 1:
        return None
    ((parameter, factor),) = form.slopes.items()
    return parameter, factor


def inline_value(data: Node, document: Document) -> float | None:
    """Return a number that is the datum of a likelihood, also from point data."""
    if not isinstance(data.value, str):
        return data.number()
    point = document.data.get(data.value)
    if point is None:
        return None
    read = read_data(point, report=document.report)
    return read.value if isinstance(read, PointData) else None


def _gaussian(node: Node, names: Names, observed: float | None) -> Single | None:
    sigma = names.number(node.child("sigma").reference())
    if sigma is None:
        return None
    if not sigma > 0.0:
        node.child("sigma").refuse(f"sigma must be positive, it is {sigma:g}.")
    pair = (node.child("x").reference(), node.child("mean").reference())
    found = _paired(node, pair, names, observed)
    if found is None:
        return None
    parameter, aux, _ = found
    return Single(parameter, ConstraintSpec("normal", aux, sigma))


def _paired(
    node: Node, pair: tuple[str | float, ...], names: Names, observed: float | None
) -> tuple[str, float, float] | None:
    """Return which of variate and mean of a Gaussian is observed and the parameter.

    Returns:
        The parameter, the observation of it, and the sign of variate minus mean
        relative to observation minus parameter.
    """
    x, mean = names.side(pair[0], variate=True), names.side(pair[1])
    if observed is not None:
        given = _Side(_Rank.NUMBER, observed)
        # The variate is observed, unless it is a parameter and the mean is not.
        swapped = x.rank is None and mean.rank is not None
        x, mean = (x, given) if swapped else (given, replace(mean, rank=None))
    sides = [(x, mean, pair[0], 1.0), (mean, x, pair[1], -1.0)]
    known = [one for one in sides if one[0].rank is not None]
    if not known:
        return None
    data, other, reference, sign = min(known, key=lambda one: one[0].rank or 0)
    if other.parameter is None:
        return None
    names.say(data, reference)
    if data.datum is None:
        names.document.report.collect(
            "Nothing says what was observed in the auxiliary distributions {names}: "
            "0 is assumed.",
            node.name,
        )
        return other.parameter, 0.0, sign * other.sign
    aux = other.sign * (data.datum - other.offset)
    return other.parameter, aux, sign * other.sign


def _poisson(node: Node, names: Names, observed: float | None) -> Single | None:
    reference = node.child("x").reference()
    x = names.side(reference, variate=True)
    if observed is not None:
        x = _Side(_Rank.NUMBER, observed)
    scaled = names.scaled(node.child("mean").reference())
    if x.rank is None or scaled is None:
        return None
    parameter, tau = scaled
    if not (tau > 0.0 and math.isfinite(tau)):
        return None
    names.say(x, reference)
    count = x.datum
    if count is None:
        count = tau
        names.document.report.collect(
            "Nothing says what was observed in the auxiliary distributions {names}: "
            "the nominal count is assumed.",
            node.name,
        )
    if count < 0.0:
        node.refuse(f"an observed count cannot be negative, it is {count:g}.")
    return Single(parameter, ConstraintSpec("poisson", count, tau))


def _log_normal(node: Node, names: Names, observed: float | None) -> Single | None:
    """Read a log-normal of an observed number whose median is a parameter.

    Its `mu` must be a function that is the logarithm of that parameter: a log-normal
    density of the parameter itself has another power of it.
    """
    reference = node.child("x").reference()
    x = names.side(reference)
    value = x.datum if observed is None and x.rank is not None else observed
    median = proportional(names.linear.logarithm(node.child("mu").reference()))
    sigma = names.number(node.child("sigma").reference())
    if median is None or median[1] != 1.0 or sigma is None or value is None:
        return None
    if not (sigma > 0.0 and value > 0.0):
        node.refuse("sigma and the observed value of a log-normal must be positive.")
    names.say(x, reference)
    return Single(median[0], ConstraintSpec("lognormal", value, math.exp(sigma)))


def _multivariate(node: Node, names: Names) -> Measurement | None:
    x, mean = (
        [item.reference() for item in node.child(key).items()] for key in ("x", "mean")
    )
    rows = [
        [names.number(item.reference()) for item in row.items()]
        for row in node.child("covariances").items()
    ]
    shapes = {len(x), len(mean), len(rows), *map(len, rows)}
    pairs = [_paired(node, pair, names, None) for pair in zip(x, mean, strict=False)]
    parameters = tuple(one[0] for one in pairs if one is not None)
    numbers = [value for row in rows for value in row if value is not None]
    if len(shapes) > 1 or len(set(parameters)) < len(x) or len(numbers) < len(x) ** 2:
        return None  # read, or refused, as a distribution
    signs = np.array([one[2] for one in pairs if one is not None])
    matrix = np.reshape(numbers, (len(x), len(x))) * np.outer(signs, signs)
    if not np.array_equal(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0.0:
        return None
    aux = np.array([one[1] for one in pairs if one is not None])
    if len(x) == 1:
        spec = ConstraintSpec("normal", float(aux[0]), math.sqrt(matrix[0, 0]))
        return Single(parameters[0], spec)
    return Joint(parameters, aux, matrix)


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


@dataclass
class Measurements:
    """Collects distributions as constraints of parameters.

    Attributes:
        names: The names, which distinguish data from parameters.
        parameters: The parameters to which constraints are added.
        counted: The parameters of each distribution that is a constraint.
        others: Distributions that are not simple measurements, or a second one of their
            parameter; they become terms of the likelihood.
    """

    names: Names
    parameters: Parameters
    counted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: dict[str, Node] = field(default_factory=dict)

    def count(self, node: Node, *, observed: float | None = None) -> bool:
        """Add a distribution as a constraint, if it is a measurement of parameters.

        Args:
            node: The distribution; counting it again does nothing.
            observed: The value of its variate, if the likelihood has one.

        Returns:
            Whether it is a constraint of the model; if not it is among `others`.
        """
        name = node.name
        if name in self.counted or name in self.others:
            return name in self.counted
        measured = measurement(node, self.names, observed=observed)
        if measured is None or not self._enter(name, measured, node):
            self.others[name] = node
            return False
        self.counted[name] = _parameters(measured)
        return True

    def report(self, factors: Mapping[str, Node]) -> None:
        """Report which factors of products were counted, and of which parameters."""
        for name in factors:
            if name in self.counted:
                self.names.document.report.collect(
                    "These factors of products depend on nothing observed with the "
                    "data; they are auxiliary measurements, each counted once: "
                    "{names}.",
                    f"{name} (of {', '.join(self.counted[name])})",
                )

    def _enter(self, name: str, measured: Measurement, node: Node) -> bool:
        for parameter in _parameters(measured):
            self.parameters.require(parameter, "free", node=node)
        if isinstance(measured, Single):
            return self.parameters.constrain(
                measured.parameter, measured.spec, origin=node.where, explicit=True
            )
        self.parameters.constrain_jointly(name, measured)
        return True


def _parameters(measured: Measurement) -> tuple[str, ...]:
    return (
        (measured.parameter,) if isinstance(measured, Single) else measured.parameters
    )


_FAR = 4.75  # standard deviations; what is beyond changes -ln L by less than 1e-6


def report_truncated(
    document: Document, names: Names, parameters: Iterable[ParameterSpec]
) -> None:
    """Report Gaussian constraints that ROOT truncates.

    ROOT divides by the integral over the range of the global observable. That range is
    not part of the measurement; often it is only the range of a plot. Here the density
    is normalised over all values. The difference is relevant if the parameter can come
    near an end of that range.
    """
    if not document.from_root:
        return
    free = {p.name: p for p in parameters if p.constraint and not np.all(p.fixed)}
    for node in document.distributions.values():
        if node.value.get("type") not in GAUSSIAN:
            continue
        x, mean = node.value.get("x"), node.value.get("mean")
        for observed, name in ((x, mean), (mean, x)):
            if not isinstance(observed, str) or name not in free:
                continue
            span = names.selection.bounds.get(observed)
            if span is None or names.observed(observed) is None:
                continue
            if _near(free[name], span):
                document.report.collect(
                    "ROOT normalises the constraints of {names} over the ranges of "
                    "their global observables; here they are normalised over all "
                    "values, so that -ln L differs from that of ROOT where these "
                    "parameters are near an end of such a range.",
                    name,
                )


def _near(parameter: ParameterSpec, span: tuple[float, float]) -> bool:
    """Return whether the parameter comes close to an end of the range."""
    assert parameter.constraint is not None
    below = np.min(parameter.lower) - span[0]
    above = span[1] - np.max(parameter.upper)
    return bool(min(below, above) < _FAR * np.min(parameter.constraint.width))
