"""Functions of a document that are linear in parameters, without evaluating them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from everwillow._errors import EverwillowError
from everwillow.models._document import Node
from everwillow.models.hs3.expressions import nodes as tree
from everwillow.models.hs3.expressions.evaluation import number
from everwillow.models.hs3.expressions.grammar import parse


@dataclass(frozen=True)
class Linear:
    """A number plus parameters times numbers.

    Attributes:
        offset: The number.
        slopes: The factors by parameter, none of them 0.
    """

    offset: float
    slopes: Mapping[str, float]

    def times(self, factor: float) -> "Linear":
        """Return the product with a number."""
        slopes = {n: v * factor for n, v in self.slopes.items() if v * factor != 0.0}
        return Linear(self.offset * factor, slopes)

    def plus(self, other: "Linear") -> "Linear":
        """Return the sum of two."""
        names = dict.fromkeys([*self.slopes, *other.slopes])
        sums = {n: self.slopes.get(n, 0.0) + other.slopes.get(n, 0.0) for n in names}
        slopes = {name: value for name, value in sums.items() if value != 0.0}
        return Linear(self.offset + other.offset, slopes)


class LinearReader:
    """A reader of linear functions.

    Args:
        functions: Definitions of functions by name.
        constant: A function that returns the value of a constant by name, and None for
            other names.
    """

    def __init__(
        self, functions: Mapping[str, Node], constant: Callable[[str], float | None]
    ) -> None:
        self._functions = functions
        self._constant = constant
        self._path: list[str] = []

    def function_name(self, name: str) -> str | None:
        """Return the function of a name, or None; ``f.value`` is ``f``."""
        if name in self._functions:
            return name
        stem = name.removesuffix(".value")
        return stem if stem in self._functions else None

    def reference(self, reference: str | float) -> Linear | None:
        """Return a name or a number inside a function as a linear function."""
        if not isinstance(reference, str):
            return Linear(float(reference), {})
        name = self.function_name(reference)
        if name is None:
            value = self._constant(reference)
            return Linear(0.0, {reference: 1.0}) if value is None else Linear(value, {})
        if name in self._path:  # a circle, which is refused elsewhere
            return None
        self._path.append(name)
        try:
            return self._function(self._functions[name])
        finally:
            self._path.pop()

    def logarithm(self, reference: str | float) -> Linear | None:
        """Return the argument of a logarithm, if it is linear."""
        name = self.function_name(str(reference))
        formula = None if name is None else _formula(self._functions[name])
        match formula:
            case tree.Call("log", (argument,)):
                return self._tree(argument)
        return None

    def _function(self, node: Node) -> Linear | None:
        kind = node.value.get("type")
        formula = _formula(node)
        if formula is not None:
            return self._tree(formula)
        key = {"product": "factors", "sum": "summands"}.get(str(kind))
        if key is None or not isinstance(node.value.get(key), list):
            return None
        parts = [self.reference(item.reference()) for item in node.child(key).items()]
        whole: Linear | None = Linear(1.0 if kind == "product" else 0.0, {})
        for part in parts:
            whole = _joined("*" if kind == "product" else "+", whole, part)
        return whole

    def _tree(self, node: tree.Node) -> Linear | None:
        match node:
            case tree.Number(value):
                return Linear(value, {})
            case tree.Symbol(name):
                return self.reference(name)
            case tree.Unary("-", operand):
                return _joined("*", Linear(-1.0, {}), self._tree(operand))
            case tree.Chain(first, rest) if rest[0][0] in ("+", "-", "*", "/"):
                whole = self._tree(first)
                for operator, operand in rest:
                    whole = _joined(operator, whole, self._tree(operand))
                return whole
        return self._number(node)

    def _number(self, node: tree.Node) -> Linear | None:
        """Return the value of an expression of constants only."""
        values = {}
        for part, _ in tree.walk(node):
            if isinstance(part, tree.Symbol):
                term = self.reference(part.name)
                if term is None or term.slopes:
                    return None
                values[part.name] = term.offset
        with jax.ensure_compile_time_eval():
            arrays = {name: jnp.asarray(value) for name, value in values.items()}
            return Linear(float(number(node, arrays)), {})


def _formula(node: Node) -> tree.Node | None:
    text = node.value.get("expression")
    if node.value.get("type") != "generic_function" or not isinstance(text, str):
        return None
    try:
        return parse(text)
    except EverwillowError:  # raised again, with its place, where it is evaluated
        return None


def _joined(operator: str, a: Linear | None, b: Linear | None) -> Linear | None:
    if a is None or b is None:
        return None
    if operator in "+-":
        return a.plus(b if operator == "+" else b.times(-1.0))
    if operator == "/":
        return None if b.slopes or b.offset == 0.0 else a.times(1.0 / b.offset)
    if a.slopes and b.slopes:
        return None
    return a.times(b.offset) if a.slopes else b.times(a.offset)
