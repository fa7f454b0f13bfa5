"""Small functions for scripts."""

from typing import Any

import jax
import jax.numpy as jnp

from everwillow._typing import ArrayLike


def float_array(value: ArrayLike | Any) -> jax.Array:
    """Return numbers as an array of the default floating-point type.

    That is double precision with `jax_enable_x64`, as fits need it.

    Args:
        value: A number, an array, or nested sequences of numbers; may be traced.

    Example:
        >>> from everwillow.util import float_array
        >>> print(float_array([1, 2]))
        [1. 2.]
    """
    return jnp.asarray(value, dtype=jnp.result_type(float))
