"""Products, sums, polynomials and formulas."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError, SpecificationError
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.expressions import Expression
from everwillow.models.hs3.functions.base import AbstractFunction, Lookup


@dataclass(frozen=True, slots=True)
class Product(AbstractFunction):
    """The product of its factors; 1 if there are none.

    Attributes:
        factors: Names or numbers.
    """

    type: ClassVar[str] = "product"
    factors: tuple[Reference, ...]

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        value = jnp.ones(())
        for factor in self.factors:
            value = value * lookup[factor]
        return value

    @classmethod
    def read(cls, fields: Fields) -> "Product":
        """Make one from its definition."""
        return cls(fields.list_at("factors", empty=True))


@dataclass(frozen=True, slots=True)
class Sum(AbstractFunction):
    """The sum of its summands.

    Attributes:
        summands: Names or numbers.
    """

    type: ClassVar[str] = "sum"
    summands: tuple[Reference, ...]

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        value = lookup[self.summands[0]]
        for summand in self.summands[1:]:
            value = value + lookup[summand]
        return value

    @classmethod
    def read(cls, fields: Fields) -> "Sum":
        """Make one from its definition."""
        return cls(fields.list_at("summands"))


@dataclass(frozen=True, slots=True)
class Polynomial(AbstractFunction):
    r"""The polynomial :math:`\sum_i a_i x^i`.

    Attributes:
        x: The variable.
        coefficients: From the constant term upwards.
    """

    type: ClassVar[str] = "polynomial"
    x: Reference
    coefficients: tuple[Reference, ...]

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        return horner([lookup[a] for a in self.coefficients], lookup[self.x])

    @classmethod
    def read(cls, fields: Fields) -> "Polynomial":
        """Make one from its definition."""
        return cls(fields.get("x"), fields.list_at("coefficients"))


@dataclass(frozen=True, slots=True)
class Generic(AbstractFunction):
    """A formula.

    Attributes:
        expression: The formula.
    """

    type: ClassVar[str] = "generic_function"
    expression: Expression

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        return self.expression({name: lookup[name] for name in self.names})

    def log(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the logarithm, with exponential functions taken apart first."""
        return self.expression.log({name: lookup[name] for name in self.names})

    @classmethod
    def read(cls, fields: Fields) -> "Generic":
        """Make one from its definition."""
        return cls(expression_at(fields))


def horner(coefficients: list[Array], x: Array) -> Array:
    """Return the polynomial with these coefficients, from the constant upwards."""
    value = coefficients[-1] + jnp.zeros_like(x)
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def expression_at(fields: Fields) -> Expression:
    """Return the formula of a generic function or distribution."""
    text = fields.raw("expression")
    if not isinstance(text, str):
        fields.refuse(f"'expression' must be a text, not {text!r}")
    try:
        return Expression(text)
    except ArgumentValueError as error:
        raise SpecificationError(f"{fields.where}/{error}") from None
