"""The two data sets that a search for limits goes between."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from everwillow._errors import ShapeMismatchError
from everwillow._numerics import select
from everwillow._tree import alike_but_rows


class TwoSets(NamedTuple):
    """The data and Asimov data.

    Where both have the same shapes one fit serves both; unbinned data, whose Asimov
    data are a grid of weighted events, have one fit each.

    Attributes:
        data: The data.
        expected: The shapes of Asimov data.
    """

    data: Any
    expected: Any

    @classmethod
    def of(cls, data: Any, expected: Any) -> "TwoSets":
        """Check that they fit together, and give both the dtypes that both can have.

        Raises:
            ShapeMismatchError: If they do not.
        """
        shapes = _shapes(data), _shapes(expected)
        if shapes[0] != shapes[1] and not _similar(data, expected):
            raise ShapeMismatchError(
                "predict_fn: expected Asimov data like the observation, "
                f"{shapes[0]}, got {shapes[1]}."
            )
        dtypes = jax.tree.map(lambda d, e: jnp.result_type(d, e.dtype), data, expected)
        return cls(
            jax.tree.map(jnp.asarray, data, dtypes),
            jax.tree.map(
                lambda e, t: jax.ShapeDtypeStruct(e.shape, t), expected, dtypes
            ),
        )

    @property
    def blank(self) -> Any:
        """Zeros like Asimov data."""
        return jax.tree.map(lambda e: jnp.zeros(e.shape, e.dtype), self.expected)

    def asimov(self, made: Any) -> Any:
        """Return Asimov data with their dtypes."""
        return jax.tree.map(lambda a, e: jnp.asarray(a, e.dtype), made, self.expected)

    def apply(self, fit: Callable[[Any], Any], on_data: Array, asimov: Any) -> Any:
        """Return the fit of one of the two."""
        if _shapes(self.data) == _shapes(self.expected):
            return fit(select(on_data, self.data, asimov))
        return jax.lax.cond(on_data, lambda: fit(self.data), lambda: fit(asimov))


def _shapes(observation: Any) -> str:
    """Return the structure and the shapes of data, in a way that can be read."""
    return str(jax.tree.map(lambda leaf: tuple(jnp.shape(leaf)), observation))


def _similar(data: Any, expected: Any) -> bool:
    """Return whether only numbers of events differ."""
    leaves, structure = jax.tree.flatten(data)
    others, wanted = jax.tree.flatten(expected)
    return structure == wanted and all(
        alike_but_rows(jnp.shape(a), b.shape)
        for a, b in zip(leaves, others, strict=True)
    )
