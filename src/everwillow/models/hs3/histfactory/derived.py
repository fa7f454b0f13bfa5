"""Functions of a document in place of parameters of modifiers."""

from dataclasses import dataclass, field
from typing import Any

from everwillow._typing import Array, Scalar
from everwillow.likelihood.binned.spec import Derived
from everwillow.models._document import Node
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.functions.base import AbstractFunction
from everwillow.models.hs3.functions.graph import Graph, Scope
from everwillow.models.hs3.functions.histograms import BinVolume
from everwillow.models.hs3.parameters import Parameters


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function of its inputs by position; compared by content, to compile once.

    Attributes:
        function: The function.
        definition: The definition in the document.
    """

    function: AbstractFunction
    definition: dict[str, Any] = field(compare=False)

    def __call__(self, *values: Array) -> Scalar:
        """Return the value for values of the inputs, in the order of their names."""
        return self.function(Scope(dict(zip(self.function.names, values, strict=True))))


def derive(
    name: str,
    document: Document,
    graph: Graph,
    parameters: Parameters,
    derived: dict[str, Derived],
    *,
    node: Node,
) -> None:
    """Add a function, and those it needs, to the derived numbers.

    Args:
        name: The name of the function.
        document: The document with the definitions of functions.
        graph: The functions that modifiers need.
        parameters: The collection to which its parameters are added.
        derived: The collection to which functions are added, in an order in which they
            can be computed.
        node: The place where it is needed.
    """
    for step in graph.plan(name):
        function, definition = graph.functions[step], document.functions[step]
        if function.bins is not None or isinstance(function, BinVolume):
            node.refuse(
                f"the function {step!r} is one of the bins of an observable, which "
                "cannot scale a whole sample. Multiply it into the templates, or use "
                "a weighted_sum_dist."
            )
        call = FunctionCall(function, definition.value)
        inputs = [graph.function_name(needed) or needed for needed in function.names]
        derived.setdefault(step, Derived(tuple(inputs), call))
    for needed in graph.free([name]):
        parameters.require(needed, "free", node=document.functions[name])
