"""The type aliases of public signatures, in one place.

Named axes used by `jaxtyping` annotations: ``params`` is the number of scalar
parameters, array leaves ravelled; ``free`` the number of those that are fitted.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, ArrayLike, Float, PyTree


Key: TypeAlias = str | tuple[str, ...]
Nll: TypeAlias = Callable[[Any, Any], Array]
Scalar: TypeAlias = Float[Array, ""]

__all__ = ["Array", "ArrayLike", "Key", "Nll", "PyTree", "Scalar"]
