"""Construction of functions from their definitions in a document."""

from collections.abc import Mapping
from typing import Any

from everwillow._errors import nearest
from everwillow.models.hs3.definition import Fields
from everwillow.models.hs3.functions.arithmetic import Generic, Polynomial, Product, Sum
from everwillow.models.hs3.functions.base import AbstractFunction
from everwillow.models.hs3.functions.histograms import BinVolume, Histogram, Step
from everwillow.models.hs3.functions.interpolations import (
    Interpolation,
    Interpolation0d,
    WeightedSum,
)


_CLASSES: tuple[type[AbstractFunction], ...] = (
    Product,
    Sum,
    Polynomial,
    Generic,
    Histogram,
    Step,
    BinVolume,
    Interpolation,
    Interpolation0d,
    WeightedSum,
)

FUNCTIONS: dict[str, type[AbstractFunction]] = {cls.type: cls for cls in _CLASSES}
"""The functions that exist, by their type in a document."""

# Other names of these types in present or former versions of ROOT.
FUNCTIONS["generic"] = Generic
FUNCTIONS["inverse_binvolume"] = FUNCTIONS["binwidth"] = BinVolume

_REFUSED = {
    "derivative": "write it out as a generic_function",
    "integral": "write it out as a generic_function",
    "spline": "write it out as a generic_function",
    "CMS::process_normalization": "write it out as a generic_function",
    "CMS::asympow": "write it out as a generic_function",
    "gauss_model_function": "it stands only as the resolutionModel of a decay_dist",
    "truth_model_function": "it stands only as the resolutionModel of a decay_dist",
}


def function_from(name: str, spec: Mapping[str, Any]) -> AbstractFunction:
    """Make a function from its definition in a document.

    Args:
        name: Its name, for messages.
        spec: Its keys and values.

    Raises:
        SpecificationError: If the type is not known, a key is missing or misspelt, or
            a value cannot be used.

    Example:
        >>> import jax.numpy as jnp
        >>> product = function_from("p", {"type": "product", "factors": ["a", 2]})
        >>> print(product({"a": jnp.asarray(3.0), 2.0: jnp.asarray(2.0)}))
        6.0
    """
    return read_function(name, spec)[0]


def read_function(
    name: str, spec: Mapping[str, Any]
) -> tuple[AbstractFunction, tuple[str, ...]]:
    """Return the function, and a sentence for each key that was ignored."""
    fields = Fields("functions", name, spec)
    cls = FUNCTIONS.get(fields.type)
    if cls is None:
        fields.refuse(_refusal(fields.type))
    return cls.read(fields), fields.close()


def _refusal(kind: str) -> str:
    if kind in _REFUSED:
        return f"functions of type {kind!r} are not supported; {_REFUSED[kind]}"
    have = ", ".join(FUNCTIONS)
    return f"there is no function type {kind!r}.{nearest(kind, FUNCTIONS)} Have: {have}"
