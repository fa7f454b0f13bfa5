"""Normfactors that are functions of other parameters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.binned_spec import Derived
from everwillow.models.histfactory._inventory import Inventory
from everwillow.models.histfactory.faults import shortened, unknown


class Expressions(NamedTuple):
    """Functions in place of normfactors.

    Attributes:
        functions: By name, each after those that it needs.
        inputs: Name of a function to the parameters that it is computed from and that
            no modifier has.
    """

    functions: dict[str, Derived]
    inputs: dict[str, tuple[str, ...]]


def resolve(expressions: Any, inventory: Inventory) -> Expressions:
    """Order the functions and find out which parameters they bring.

    Raises:
        ArgumentTypeError: If one is no `Derived`.
        ArgumentValueError: If one needs itself, or an array.
        UnknownKeyError: If one replaces something that is no normfactor.
    """
    given: Mapping[str, Derived] = expressions or {}
    normfactors = inventory.uses["normfactor"]
    arrays = inventory.elements
    others = inventory.order()
    functions: dict[str, Derived] = {}
    inputs: dict[str, tuple[str, ...]] = {}

    def visit(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ArgumentValueError(
                f"expressions: {circle} is a circle; one of them has to be free."
            )
        if name not in given:
            if name in arrays:
                raise ArgumentValueError(
                    f"expressions[{path[-1]!r}]: its input {name!r} is an array with "
                    "one element for each bin; use scalar parameters."
                )
            return () if name in others else (name,)
        if name not in functions:
            found = [visit(need, (*path, name)) for need in given[name].inputs]
            inputs[name] = tuple(dict.fromkeys(sum(found, ())))
            functions[name] = given[name]
        return inputs[name]

    for name, one in given.items():
        if not isinstance(one, Derived):
            raise ArgumentTypeError(
                f"expressions[{name!r}]: expected a Derived(inputs, function), got "
                f"{type(one).__name__}."
            )
        if name not in normfactors and not _is_input(name, given):
            raise unknown(name, normfactors, what="normfactor", where="expressions")
        if name in others and name not in normfactors:
            raise ArgumentValueError(
                f"expressions: {shortened(name)} is a {others[name]}, and only "
                "normfactors can be replaced."
            )
    for name in given:
        visit(name, ())
    return Expressions(functions, inputs)


def _is_input(name: str, given: Mapping[str, Derived]) -> bool:
    return any(name in getattr(one, "inputs", ()) for one in given.values())
