"""Auxiliary distributions that are constraints of one parameter.

Spec: HS3 0.2, section 2.4 (auxiliary measurements and global observables).
"""

import functools as ft
import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from everwillow.likelihood.binned_spec import ConstraintSpec
from everwillow.models.hs3._data import PointData, read_data
from everwillow.models.hs3._pointer import Node, refuse
from everwillow.models.hs3._selection import Selection
from everwillow.models.hs3.document import Document


@dataclass(frozen=True)
class Constants:
    """Tells the observed numbers of auxiliary distributions from parameters.

    Attributes:
        document: The document.
        selection: The analysis.
        used: Names that the main likelihood depends on.
    """

    document: Document
    selection: Selection
    used: Collection[str]

    def value(self, reference: str | float) -> float | None:
        """Return the value of a number, or of a parameter that is only data."""
        if not isinstance(reference, str):
            return float(reference)
        if reference in self.used:
            return None
        given = self.selection.aux_data
        if reference in given.values:
            return given.values[reference]
        point = self.selection.points.get(reference)
        if point is None:
            return None
        data = point.const or reference in given.names or reference in self.variates
        return point.value if data else None

    @ft.cached_property
    def variates(self) -> frozenset[str]:
        """Names that nothing but auxiliary distributions has, as what they observe."""
        names = set()
        for node in self.selection.aux:
            x, mean = node.value.get("x"), node.value.get("mean")
            known = [name for name in (x, mean) if isinstance(name, str)]
            free = [name for name in known if name not in self.used]
            if len(known) == 2 and free:
                # Of two names that nothing else has, the variate is what is observed.
                names.add(free[0])
        for name in sorted(names & self.selection.points.keys()):
            if not self.selection.points[name].const:
                self.document.report.collect(
                    "{names} are observed values of auxiliary distributions, although "
                    "they are not constant in the document.",
                    name,
                )
        return frozenset(names)

    def is_new(self, reference: str | float) -> bool:
        """Return whether a name is none of a parameter or function."""
        return (
            isinstance(reference, str)
            and reference not in self.used
            and reference not in self.selection.points
            and reference not in self.selection.bounds
            and reference not in self.document.functions
        )


def plain_constraint(
    node: Node, constants: Constants, *, observed: float | None = None
) -> tuple[str, ConstraintSpec] | None:
    """Return the constraint that a distribution is, with the parameter's name.

    A Gaussian of an observed number and a parameter (in any order, as it is symmetric),
    a Poisson of an observed count, whose mean is a parameter times constants, and a
    log-normal of an observed number, whose `mu` is the logarithm of a parameter.

    Args:
        node: The distribution.
        constants: Tells data from parameters.
        observed: The value of its variate, where the likelihood gives one.

    Returns:
        None if it is anything else.
    """
    kind = node.child("type").text()
    if kind in ("gaussian_dist", "normal_dist"):
        return _gaussian(node, constants, observed)
    if kind == "poisson_dist":
        return _poisson(node, constants, observed)
    if kind == "lognormal_dist":
        return _log_normal(node, constants, observed)
    return None


def inline_value(data: Node, document: Document) -> float | None:
    """Return the number that a likelihood gives as data, also as point data."""
    if not isinstance(data.value, str):
        return data.number()
    found = document.data.get(data.value)
    if found is None:
        return None
    read = read_data(found, report=document.report)
    return read.value if isinstance(read, PointData) else None


def _gaussian(
    node: Node, constants: Constants, observed: float | None
) -> tuple[str, ConstraintSpec] | None:
    x, mean = node.child("x").reference(), node.child("mean").reference()
    sigma = constants.value(node.child("sigma").reference())
    if sigma is None:
        return None
    if not sigma > 0.0:
        refuse(node.child("sigma"), f"sigma must be positive, it is {sigma:g}.")
    pair = _divided(x, mean, constants, observed)
    if pair is None:
        return None
    parameter, aux = pair
    if parameter in constants.document.functions:
        return None
    if aux is None:
        aux = 0.0
        constants.document.report.collect(
            "Nothing says what was observed in the auxiliary distributions {names}: "
            "0 is assumed.",
            node.child("name").text(),
        )
    return parameter, ConstraintSpec("normal", aux, sigma)


def _divided(
    x: str | float, mean: str | float, constants: Constants, observed: float | None
) -> tuple[str, float | None] | None:
    """Return which of the two is the parameter, and the number that is the other."""
    if observed is not None:
        return (mean, observed) if isinstance(mean, str) else None
    left, right = constants.value(x), constants.value(mean)
    if isinstance(mean, str) and left is not None:
        return mean, left
    if isinstance(x, str) and right is not None:
        return x, right
    if isinstance(mean, str) and constants.is_new(x):
        return mean, None
    return None


def _poisson(
    node: Node, constants: Constants, observed: float | None
) -> tuple[str, ConstraintSpec] | None:
    x, mean = node.child("x").reference(), node.child("mean").reference()
    count = constants.value(x) if observed is None else observed
    scaled = _scaled(mean, constants)
    if scaled is None:
        return None
    parameter, tau = scaled
    if not (tau > 0.0 and math.isfinite(tau)):
        return None
    if count is None:
        if not constants.is_new(x):
            return None
        count = tau
        constants.document.report.collect(
            "Nothing says what was observed in the auxiliary distributions {names}: "
            "the nominal count is assumed.",
            node.child("name").text(),
        )
    if count < 0.0:
        refuse(node, f"an observed count cannot be negative, it is {count:g}.")
    return parameter, ConstraintSpec("poisson", count, tau)


_LOGARITHM = re.compile(r"\s*log\(\s*([A-Za-z_]\w*)\s*\)\s*")


def _log_normal(
    node: Node, constants: Constants, observed: float | None
) -> tuple[str, ConstraintSpec] | None:
    """Read a log-normal of an observed number whose median is a parameter.

    Its `mu` must be a function that is the logarithm of that parameter: a log-normal
    density of the parameter itself has another power of it.
    """
    x, mu = node.child("x").reference(), node.child("mu").reference()
    sigma = constants.value(node.child("sigma").reference())
    value = constants.value(x) if observed is None else observed
    function = constants.document.functions.get(str(mu))
    if function is None or sigma is None or value is None:
        return None
    text = function.value.get("expression")
    match = _LOGARITHM.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] in constants.document.functions:
        return None
    if not (sigma > 0.0 and value > 0.0):
        refuse(node, "sigma and the observed value of a log-normal must be positive.")
    return match[1], ConstraintSpec("lognormal", value, math.exp(sigma))


def _scaled(mean: str | float, constants: Constants) -> tuple[str, float] | None:
    """Return the parameter and the constant of a mean that is their product."""
    if not isinstance(mean, str):
        return None
    function = constants.document.functions.get(mean)
    if function is None:
        return mean, 1.0
    if function.child("type").text() != "product":
        return None
    parameter, tau = None, 1.0
    for item in function.child("factors").items():
        factor = item.reference()
        value = constants.value(factor)
        if value is not None:
            tau *= value
        elif parameter is None and factor not in constants.document.functions:
            parameter = factor
        else:
            return None
    return None if parameter is None else (str(parameter), tau)
