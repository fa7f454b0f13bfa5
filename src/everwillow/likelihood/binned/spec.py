"""The specification of a binned likelihood, in NumPy, which all file readers make.

A `BinnedSpec` has the content of a HistFactory workspace, without the conventions of
any format: names are resolved, constraints are explicit, every array has the length of
its channel. `everwillow.models.binned.BinnedModel` compiles it.

The rate of a bin is the sum over its samples of
``(nominal + sum of additive effects) * product of multiplicative effects``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Array, Float


Interpolation: TypeAlias = Literal[
    "code0", "code1", "code2", "code4", "code4p", "code6"
]
"""The interpolation between the templates at -1, 0 and 1.

Code 0 is linear in pieces, 1 exponential in pieces, 2 a parabola with straight tails,
4 a polynomial of sixth order with exponential tails, 4p one with straight tails; 6 is
4p for the ratio to the nominal yield, which then multiplies.
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiply all bins of a sample with a parameter: normfactor, lumi.

    Attributes:
        parameter: Name of a scalar parameter, or of a derived one.
    """

    parameter: str


@dataclass(frozen=True, slots=True)
class BinScale:
    """Multiply each bin with a parameter of its own: shapefactor, shapesys, staterror.

    Attributes:
        parameters: The array parameter that has one element for each bin, or the names
            of scalar parameters, one for each bin.
    """

    parameters: str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NormVariation:
    """Multiply all bins with an interpolated factor: normsys.

    Attributes:
        parameter: Name of a scalar parameter.
        down: The factor at -1.
        up: The factor at +1.
        interpolation: The interpolation code; the factor at 0 is 1. An additive code
            (0, 2, 4p) makes the factor ``1 + change``.
    """

    parameter: str
    down: float
    up: float
    interpolation: Interpolation = "code4"


@dataclass(frozen=True, slots=True)
class ShapeVariation:
    """Add an interpolated difference to the nominal yields: histosys.

    Attributes:
        parameter: Name of a scalar parameter.
        down: The yields at -1, shape ``(bins,)``.
        up: The yields at +1.
        interpolation: The interpolation code. A multiplicative code multiplies each bin
            instead: 1 and 4 need positive yields, 6 a nominal yield that is not 0.
    """

    parameter: str
    down: np.ndarray
    up: np.ndarray
    interpolation: Interpolation = "code4p"


Effect: TypeAlias = Scale | BinScale | NormVariation | ShapeVariation


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """One process in one channel.

    Attributes:
        name: Its name.
        nominal: Expected yields at the nominal values, shape ``(bins,)``.
        effects: The effects of parameters on it.
    """

    name: str
    nominal: np.ndarray
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One binned region.

    Attributes:
        name: Its name.
        observed: The counts, shape ``(bins,)``.
        samples: The processes that add up to its expected yields.
    """

    name: str
    observed: np.ndarray
    samples: tuple[SampleSpec, ...]


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """An auxiliary measurement of one parameter, for each of its elements.

    Attributes:
        kind: The density of the auxiliary observation, as in
            `everwillow.parameters.constraints`.
        aux: The nominal auxiliary observation: of a Poisson the count.
        width: The standard deviation of a normal, the factor kappa of a log-normal,
            tau of a Poisson (whose mean is tau times the parameter).
    """

    kind: Literal["normal", "poisson", "lognormal"]
    aux: float | np.ndarray
    width: float | np.ndarray


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter, a scalar or an array.

    Attributes:
        name: Its key in the State.
        start: Start value, a number or an array of shape ``(size,)``.
        lower: Smallest value, like `start`; ``-inf`` where there is none.
        upper: Largest value, like `start`; ``inf`` where there is none.
        fixed: Which elements are not to be fitted.
        constraint: Its auxiliary measurement, or None.
    """

    name: str
    start: float | np.ndarray
    lower: float | np.ndarray = -np.inf
    upper: float | np.ndarray = np.inf
    fixed: bool | np.ndarray = False
    constraint: ConstraintSpec | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """A number computed from parameters, which can replace a parameter.

    Attributes:
        inputs: Names of scalar parameters, or of derived numbers before this one.
        fn: ``fn(*values)`` in `jax.numpy`, returns a scalar.
    """

    inputs: tuple[str, ...]
    fn: Callable[..., Float[Array, ""]]


@dataclass(frozen=True, slots=True)
class BinnedSpec:
    """A whole binned likelihood.

    Attributes:
        channels: The regions, in the order of the data.
        parameters: All parameters, in the order of the State.
        derived: By name, in an order in which each is computable.
        poi: Name of the parameter of interest, or None.
        name: Name of the measurement or analysis.
        report: Assumptions and normalisations of the reader, one sentence each.
    """

    channels: tuple[ChannelSpec, ...]
    parameters: tuple[ParameterSpec, ...]
    derived: Mapping[str, Derived] = field(default_factory=dict)
    poi: str | None = None
    name: str = ""
    report: tuple[str, ...] = ()
