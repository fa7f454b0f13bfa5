"""The interpolations of ROOT as functions of HS3, and weighted sums.

Spec: PiecewiseInterpolation and FlexibleInterpVar of ROOT, whose codes are those of
`everwillow.likelihood.interpolation` under other numbers.
"""

import itertools as it
import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.binned.spec import Interpolation as Code
from everwillow.likelihood.interpolation import MULTIPLICATIVE, Bend, NormFactors
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.functions.base import AbstractFunction, Lookup


_CODES: tuple[Code, ...] = (
    "code0",
    "code1",
    "code2",
    "code2",
    "code4p",
    "code4",
    "code6",
)
_SMALLEST = 1e-300  # so that a ratio of 0 has a logarithm


@dataclass(frozen=True, slots=True)
class Interpolation(AbstractFunction):
    """An interpolation of functions at -1, 0 and 1 of some parameters.

    One parameter after the other adds its change, or multiplies the value so far:
    PiecewiseInterpolation.

    Attributes:
        nominal: The value with all parameters at 0.
        low: The values with a single parameter at -1, for each parameter.
        high: The values with a single parameter at 1, for each parameter.
        parameters: The names of the parameters.
        codes: The interpolation code of each parameter.
        positive: Whether negative values are cut off.
    """

    type: ClassVar[str] = "interpolation"
    nominal: Reference
    low: tuple[Reference, ...]
    high: tuple[Reference, ...]
    parameters: tuple[Reference, ...]
    codes: tuple[Code, ...]
    positive: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it refers to."""
        parts = (self.nominal, *self.low, *self.high, *self.parameters)
        return tuple(dict.fromkeys(part for part in parts if isinstance(part, str)))

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        total = self._total(lookup)
        return jnp.where(total < 0.0, 0.0, total) if self.positive else total

    def _total(self, lookup: Lookup) -> Float[Array, "..."]:
        nominal = total = lookup[self.nominal]
        for code, run in it.groupby(range(len(self.codes)), key=self._kind):
            index = list(run)
            values = [lookup[self.parameters[i]] for i in index]
            down = _stacked([lookup[self.low[i]] for i in index], nominal, *values)
            up = _stacked([lookup[self.high[i]] for i in index], nominal, *values)
            alphas = _stacked(values)
            down, up = jnp.broadcast_arrays(down, up)
            missing = down.ndim - alphas.ndim
            alphas = alphas.reshape(len(index), *[1] * missing, *alphas.shape[1:])
            middle = jnp.broadcast_to(nominal, down.shape[1:])[None]
            if code is None:
                codes: list[Code] = [self.codes[i] for i in index]
                total = total + _changes(codes, middle, (alphas, down, up))
            else:
                total = total * _factors(code, middle, (alphas, down, up))
        return total

    def _kind(self, index: int) -> Code | None:
        """Return the code if it multiplies; all codes that add are one kind."""
        code = self.codes[index]
        return code if code in MULTIPLICATIVE else None

    @classmethod
    def read(cls, fields: Fields) -> "Interpolation":
        """Make one from its definition."""
        return _read(cls, fields, fields.flag("positiveDefinite") or False)


@dataclass(frozen=True, slots=True)
class Interpolation0d(Interpolation):
    """An interpolation of numbers, FlexibleInterpVar, which is always positive."""

    type: ClassVar[str] = "interpolation0d"

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value, at least the smallest positive number."""
        total = self._total(lookup)
        return jnp.where(total <= 0.0, jnp.finfo(total.dtype).tiny, total)

    @classmethod
    def read(cls, fields: Fields) -> "Interpolation0d":
        """Make one from its definition."""
        return _read(cls, fields, True)


_Kind = TypeVar("_Kind", bound=Interpolation)


def _read(kind: type[_Kind], fields: Fields, positive: bool) -> _Kind:  # noqa: FBT001
    """Read the common fields of both interpolations."""
    parameters = fields.list_at("vars", empty=True)
    low, high = fields.list_at("low", empty=True), fields.list_at("high", empty=True)
    if not len(parameters) == len(low) == len(high):
        fields.refuse(
            f"{len(parameters)} 'vars' need as many 'low' and 'high', not {len(low)} "
            f"and {len(high)}"
        )
    numbers = [0] * len(parameters)
    if fields.has("interpolationCodes"):
        numbers = fields.raw("interpolationCodes") or []
    elif parameters:
        fields.note("it has no 'interpolationCodes': code 0 is assumed, as in ROOT")
    if not isinstance(numbers, list) or len(numbers) != len(parameters):
        fields.refuse(f"{len(parameters)} 'vars' need a list of as many codes")
    if kind is Interpolation0d:
        numbers = [5 if number == 4 else number for number in numbers]
    codes: tuple[Code, ...] = tuple(_code(fields, number) for number in numbers)
    nominal = fields.get("nom")
    return kind(nominal, low, high, parameters, codes, positive)


def _code(fields: Fields, number: Any) -> Code:
    known = range(len(_CODES))
    if isinstance(number, bool) or number not in known:
        fields.refuse(f"there is no interpolation code {number!r}, only 0 to 6")
    return _CODES[int(number)]


_Columns: TypeAlias = tuple[Array, Array, Array]  # parameters, values at -1 and at 1


def _stacked(values: list[Array], *like: Array) -> Array:
    """Stack values of a common shape along a new first axis."""
    shape = jnp.broadcast_shapes(*(jnp.shape(v) for v in (*values, *like)))
    return jnp.stack([jnp.broadcast_to(value, shape) for value in values])


def _changes(codes: list[Code], nominal: Array, columns: _Columns) -> Array:
    """Return the sum of the changes of consecutive parameters that add."""
    alphas, down, up = columns
    shape = jnp.broadcast_shapes(alphas.shape, down.shape, up.shape)
    repeated: list[Code] = [
        code for code in codes for _ in range(math.prod(alphas.shape[1:]))
    ]
    bends = Bend.of(repeated)(alphas.ravel())[0].reshape(alphas.shape)
    changes = (up - down) / 2 * alphas + ((up + down) / 2 - nominal) * bends
    return jnp.sum(jnp.broadcast_to(changes, shape), axis=0)


def _factors(code: Code, nominal: Array, columns: _Columns) -> Array:
    """Return the product of the factors of consecutive parameters that multiply."""
    alphas, down, up = columns
    low, high = _ratio(down, nominal, code), _ratio(up, nominal, code)
    low, high, at = jnp.broadcast_arrays(low, high, alphas)
    made = NormFactors.of(code, low.ravel(), high.ravel())
    return jnp.prod(made(at.ravel())[0].reshape(at.shape), axis=0)


def _ratio(value: Array, nominal: Array, code: Code) -> Array:
    """Return the ratio to the nominal value; 0/0 is 1."""
    none = nominal == 0.0
    ratio = value / jnp.where(none, 1.0, nominal)
    ratio = jnp.where(none, jnp.where(value == 0.0, 1.0, jnp.nan), ratio)
    if code == "code6":
        return ratio
    return jnp.where(ratio < 0.0, jnp.nan, jnp.maximum(ratio, _SMALLEST))


@dataclass(frozen=True, slots=True)
class WeightedSum(AbstractFunction):
    """A sum of functions with coefficients: RooRealSumFunc.

    Attributes:
        samples: Names or numbers.
        coefficients: One for each sample, or all but the last, which is then 1 minus
            the others.
    """

    type: ClassVar[str] = "weighted_sum"
    samples: tuple[Reference, ...]
    coefficients: tuple[Reference, ...]

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        weights = [lookup[name] for name in self.coefficients]
        if len(weights) < len(self.samples):
            weights.append(1.0 - sum(weights, jnp.zeros(())))
        total = jnp.zeros(())
        for name, weight in zip(self.samples, weights, strict=True):
            total = total + weight * lookup[name]
        return total

    @classmethod
    def read(cls, fields: Fields) -> "WeightedSum":
        """Make one from its definition."""
        samples = fields.list_at("samples")
        coefficients = fields.list_at("coefficients", empty=len(samples) == 1)
        missing = len(samples) - len(coefficients)
        if missing not in (0, 1):
            fields.refuse(
                f"{len(samples)} samples need as many coefficients or one less, not "
                f"{len(coefficients)}"
            )
        return cls(samples, coefficients)
