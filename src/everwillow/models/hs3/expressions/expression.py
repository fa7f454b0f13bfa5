"""Expressions of HS3: formulas as text, computed with `jax.numpy`."""

from collections.abc import Mapping
from typing import Any, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, unknown_key
from everwillow._typing import ArrayLike
from everwillow.models.hs3.expressions.evaluation import (
    elementwise,
    has_branches,
    log_number,
    number,
)
from everwillow.models.hs3.expressions.grammar import parse
from everwillow.models.hs3.expressions.nodes import Node, Symbol, walk


@final
class Expression:
    """A formula in the expression language of HS3.

    The language (HS3, chapter "Generic Expressions"): numbers, ``TRUE``, ``FALSE``,
    ``PI``, ``EULER``; ``+ - * / ^`` (also ``**``); ``== != === !== < <= > >=``, the
    first two up to a few units in the last place; ``! && ||``; brackets;
    ``c ? a : b`` and ``ifelse(c, a, b)``; ``exp log sqrt abs pow min max sin cos tan
    asin acos atan``. Any other word is a name in the model. Text is parsed by a grammar
    and never executed.

    A branch that is not taken has no influence on derivatives.

    Args:
        text: The formula.

    Attributes:
        text: The formula as given; two expressions are equal if their texts are.
        names: The names it needs, in the order in which they appear first.

    Raises:
        ArgumentTypeError: If `text` is not a text.
        ArgumentValueError: If it is not an expression, with the place.

    Example:
        >>> formula = Expression("x > 0 ? a * log(x) : 0")
        >>> formula.names
        ('x', 'a')
        >>> print(formula({"x": 1.0, "a": 2.0}))
        0.0
    """

    __slots__ = ("_branches", "_node", "names", "text")

    text: str
    names: tuple[str, ...]
    _node: Node
    _branches: bool

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ArgumentTypeError(
                f"expression: a text is needed, not {type(text).__name__} {text!r}."
            )
        node = parse(text)
        symbols = (part.name for part, _ in walk(node) if isinstance(part, Symbol))
        set_field = object.__setattr__
        set_field(self, "text", text)
        set_field(self, "names", tuple(dict.fromkeys(symbols)))
        set_field(self, "_node", node)
        set_field(self, "_branches", has_branches(node))

    def __call__(self, values: Mapping[str, ArrayLike]) -> Float[Array, "..."]:
        """Return the value, elementwise for arrays of one shape.

        Args:
            values: A value for each of `names`, a scalar or an array; others are
                ignored.

        Returns:
            A floating-point array; true is 1.

        Raises:
            UnknownKeyError: If a name has no value.
        """
        return self._apply(number, values)

    def log(self, values: Mapping[str, ArrayLike]) -> Float[Array, "..."]:
        """Return the logarithm of the value, for densities.

        The logarithms of exponential functions in a product are taken separately, so
        that ``exp(-x^2)`` does not underflow.

        Args:
            values: A value for each of `names`, a scalar or an array.

        Returns:
            A floating-point array, ``-inf`` with zero gradient where the value is not
            positive.

        Raises:
            UnknownKeyError: If a name has no value.

        Example:
            >>> print(Expression("2 * exp(-x^2)").log({"x": 100.0}).round(4))
            -9999.3069
        """
        return self._apply(log_number, values)

    def _apply(self, rule: Any, values: Mapping[str, ArrayLike]) -> Array:
        arrays = []
        for name in self.names:
            if name not in values:
                raise unknown_key(name, values, where=f"expression {self.text!r}")
            arrays.append(_floating(values[name]))
        shape = jnp.broadcast_shapes(*(jnp.shape(array) for array in arrays))

        def evaluate(*args: Array) -> Array:
            result = rule(self._node, dict(zip(self.names, args, strict=True)))
            return jnp.broadcast_to(result, shape)

        return (elementwise(evaluate) if self._branches else evaluate)(*arrays)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"an Expression cannot be changed; {name!r} cannot be set."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text,)


def _floating(value: ArrayLike) -> Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
