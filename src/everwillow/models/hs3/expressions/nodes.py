"""The syntax tree of an expression."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number."""

    value: float


@dataclass(frozen=True, slots=True)
class Truth:
    """``TRUE`` or ``FALSE``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in the model."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of equal precedence from left to right.

    A long sum is one node, so that its length does not make the tree deep.
    """

    first: "Node"
    rest: tuple[tuple[str, "Node"], ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x`` or ``!x``."""

    operator: str
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Power:
    """``base ^ exponent``."""

    base: "Node"
    exponent: "Node"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two sides."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    function: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Conditional:
    """``condition ? value : condition ? value : ... otherwise``."""

    cases: tuple[tuple["Node", "Node"], ...]
    otherwise: "Node"


Node: TypeAlias = (
    Number | Truth | Symbol | Chain | Unary | Power | Comparison | Call | Conditional
)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below, from left to right."""
    match node:
        case Chain(first, rest):
            return (first, *(operand for _, operand in rest))
        case Unary(_, operand):
            return (operand,)
        case Power(base, exponent):
            return (base, exponent)
        case Comparison(_, left, right):
            return (left, right)
        case Call(_, arguments):
            return arguments
        case Conditional(cases, otherwise):
            return (*(part for case in cases for part in case), otherwise)
        case _:
            return ()


def walk(root: Node) -> Iterator[tuple[Node, int]]:
    """Yield each node with its depth, in the order of the text, without recursion."""
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        pending.extend((child, depth + 1) for child in reversed(children(node)))
