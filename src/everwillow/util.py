"""Small functions for scripts."""

from typing import Any

import jax
import jax.numpy as jnp

from everwillow._lazy_names import own_names
from everwillow._typing import ArrayLike


def float_array(x: ArrayLike | Any) -> jax.Array:
    """Return numbers as an array of the default floating-point type.

    That is double precision with `jax_enable_x64`, as fits need it.

    Args:
        x: A number, an array, or nested sequences of numbers; may be traced.

    Example:
        >>> from everwillow.util import float_array
        >>> print(float_array([1, 2]))
        [1. 2.]
    """
    return jnp.asarray(x, dtype=jnp.result_type(float))


__dir__ = own_names(globals())
