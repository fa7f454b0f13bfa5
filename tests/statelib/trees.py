"""One pytree of each kind that a State has to carry, for the round-trip tests."""

import collections
import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np


class Pair(NamedTuple):
    first: Any
    second: Any


class Rate(eqx.Module):
    mu: Any
    background: Any
    name: str = eqx.field(static=True, default="rate")


@jtu.register_dataclass
@dataclasses.dataclass
class Shape:
    mean: Any
    width: Any
    label: str = dataclasses.field(metadata={"static": True}, default="shape")


class Opaque:
    """A node registered without keys."""

    def __init__(self, value: Any, note: str) -> None:
        self.value = value
        self.note = note

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and vars(self) == vars(other)


jtu.register_pytree_node(
    Opaque,
    lambda node: ((node.value,), node.note),
    lambda note, children: Opaque(children[0], note),
)


def _is_none(value: Any) -> bool:
    return value is None


# name -> (pytree, is_leaf, keys)
TREES: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "dict": ({"b": {"c": 1.0}, "a": 2.0}, None, ("a", "b.c")),
    "list": ({"a": [1.0, 2.0]}, None, ("a.0", "a.1")),
    "tuple": ((1.0, (2.0,), ()), None, ("0", "1.0")),
    "namedtuple": ({"p": Pair(1.0, [2.0])}, None, ("p.first", "p.second.0")),
    "module": (Rate(1.0, {"norm": 2.0}, "x"), None, ("mu", "background.norm")),
    "dataclass": ([Shape(1.0, 2.0, "y")], None, ("0.mean", "0.width")),
    "without keys": ({"o": Opaque(1.0, "z")}, None, ("o.0",)),
    "ordered dict": (
        collections.OrderedDict([("z", 1.0), ("a", 2.0)]),
        None,
        ("z", "a"),
    ),
    "none as structure": ({"a": None, "b": 1.0}, None, ("b",)),
    "none as leaf": ({"a": None, "b": 1.0}, _is_none, ("a", "b")),
    "list as leaf": (
        {"a": [1.0, 2.0]},
        lambda node: isinstance(node, list),
        ("a",),
    ),
    "one leaf": (1.0, None, ("",)),
    "empty": ({}, None, ()),
    "integer keys": ({1: 1.0, 2: {0: 2.0}}, None, ("1", "2.0")),
    "leaves of all kinds": (
        [1, 1.0, True, 2j, "text", np.float32(1), jax.ShapeDtypeStruct((2,), "f4")],
        None,
        tuple(map(str, range(7))),
    ),
}
