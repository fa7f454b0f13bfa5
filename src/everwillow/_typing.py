"""The type aliases of public signatures, in one place.

Named axes used by `jaxtyping` annotations: ``params`` is the number of scalar
parameters, array leaves ravelled; ``free`` the number of those that are fitted.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, ArrayLike, Bool, Float, PyTree


Key: TypeAlias = str | tuple[str, ...]
Nll: TypeAlias = Callable[[Any, Any], Array]
Scalar: TypeAlias = Float[Array, ""]
Flag: TypeAlias = Bool[Array, ""]
Vector: TypeAlias = Float[Array, " params"]
Matrix: TypeAlias = Float[Array, "params params"]

__all__ = [
    "Array",
    "ArrayLike",
    "Flag",
    "Key",
    "Matrix",
    "Nll",
    "PyTree",
    "Scalar",
    "Vector",
]
