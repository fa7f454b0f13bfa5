"""Functions of a document that stand where a modifier has a parameter."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from everwillow._typing import Array, Scalar
from everwillow.likelihood.binned.spec import Derived
from everwillow.models._document import Node
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.functions.base import AbstractFunction
from everwillow.models.hs3.functions.binning import Binning
from everwillow.models.hs3.functions.histograms import BinVolume
from everwillow.models.hs3.functions.registry import function_from
from everwillow.models.hs3.parameters import Parameters


_DEEPEST = 100  # functions of functions


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function of its inputs by position; compared by content, to compile once.

    Attributes:
        function: The function.
        definition: As it stands in the document.
    """

    function: AbstractFunction
    definition: dict[str, Any] = field(compare=False)

    def __call__(self, *values: Array) -> Scalar:
        """Return the value for values of the inputs, in the order of their names."""
        inputs = dict(zip(self.function.names, values, strict=True))
        return self.function(_Inputs(inputs))


class _Inputs:
    """Finds inputs by name, and numbers by themselves."""

    def __init__(self, values: dict[str, Array]) -> None:
        self._values = values

    def __getitem__(self, reference: str | float, /) -> Array:
        if isinstance(reference, str):
            return self._values[reference]
        return jnp.asarray(reference, float)

    def place(self, binning: Binning, /) -> tuple[Array, Array]:
        """Return the bin that the inputs are in."""
        return binning.place(self)

    def function(self, name: str, /) -> None:
        """Return nothing: only values are known here."""
        del name


def derive(
    name: str,
    document: Document,
    parameters: Parameters,
    derived: dict[str, Derived],
    *,
    node: Node,
) -> None:
    """Add a function, and those it needs, to the derived numbers.

    Args:
        name: Of the function.
        document: Where functions are defined.
        parameters: Takes the parameters that it needs.
        derived: Takes the functions, in an order in which they can be computed.
        node: Where it is needed.
    """
    _derive(name, document, parameters, derived, (node, ()))


def _derive(
    name: str,
    document: Document,
    parameters: Parameters,
    derived: dict[str, Derived],
    position: tuple[Node, tuple[str, ...]],
) -> None:
    if name in derived:
        return
    node, path = position
    if name in path:
        circle = " -> ".join([*path[path.index(name) :], name])
        node.refuse(f"these functions need each other: {circle}.")
    if len(path) >= _DEEPEST:
        node.refuse(f"more than {_DEEPEST} functions of functions.")
    definition = document.functions[name]
    function = function_from(name, definition.value)
    if function.bins is not None or isinstance(function, BinVolume):
        node.refuse(
            f"the function {name!r} is one of the bins of an observable, which cannot "
            "scale a whole sample. Multiply it into the templates, or use a "
            "weighted_sum_dist."
        )
    for needed in function.names:
        if needed in document.functions:
            inner = (definition, (*path, name))
            _derive(needed, document, parameters, derived, inner)
        else:
            parameters.want(needed, "free", node=definition)
    derived[name] = Derived(function.names, FunctionCall(function, definition.value))
