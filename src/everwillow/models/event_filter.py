"""Selections of events: expressions over columns, parsed and never executed as text.

Numbers that are computed from columns have the same syntax.

The syntax is that of ``query`` in pandas: comparisons, which may be chained; ``and``,
``or``, ``not`` and, with the same precedence, ``&``, ``|``, ``~``; arithmetic; ``in``
and ``not in`` with lists; functions; names of columns, in backticks if they are not
names of Python; elements of columns of arrays, such as ``pt[0]``. ``&&``, ``||`` and
``!`` are accepted too.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from everwillow.models._filter_syntax import FUNCTIONS, FilterSyntax


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: np.isin,
    ast.NotIn: lambda values, listed: ~np.isin(values, listed),
}
_ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}


class EventFilter:
    """A selection of events.

    Args:
        text: The expression.

    Attributes:
        text: The expression.
        names: The columns that it needs.

    Raises:
        ArgumentValueError: If it is not an expression of this syntax.

    Example:
        >>> selection = EventFilter("-1 < score <= 3 & ~`is bad`")
        >>> selection.names
        ('score', 'is bad')
        >>> selection({"score": np.array([0.0, 3.0, 4.0]), "is bad": np.zeros(3)})
        array([ True,  True, False])
    """

    def __init__(self, text: str) -> None:
        syntax = FilterSyntax(text)
        self.text = text
        self.names = syntax.names
        self._tree = syntax.tree
        self._quoted = syntax.quoted

    def __repr__(self) -> str:
        return f"EventFilter({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventFilter) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __call__(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return which events are selected.

        Args:
            columns: The values of all columns of `names`.

        Returns:
            True or False for each event; a single one if no column is needed.
        """
        with np.errstate(all="ignore"):
            return _truth(_Evaluation(columns, self._quoted).value(self._tree))


class EventExpression:
    """A number for each event, computed from columns.

    Args:
        text: The expression, in the syntax of selections.

    Attributes:
        text: The expression.
        names: The columns that it needs.
        plain: Whether it is one column, whose values stay as they are.

    Raises:
        ArgumentValueError: If it is not an expression of this syntax.

    Example:
        >>> transverse = EventExpression("energy[0] / cosh(eta[0])")
        >>> transverse.names
        ('energy[0]', 'eta[0]')
        >>> transverse({"energy[0]": np.array([4.0]), "eta[0]": np.zeros(1)})
        array([4.])
    """

    def __init__(self, text: str) -> None:
        syntax = FilterSyntax(text, condition=False)
        self.text = text
        self.names = syntax.names
        self.plain = isinstance(syntax.tree, ast.Name)
        self._tree = syntax.tree
        self._quoted = syntax.quoted

    def __call__(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the number of each event.

        Args:
            columns: The values of all columns of `names`.

        Returns:
            One number for each event; a single one if no column is needed.
        """
        if self.plain:
            return np.asarray(columns[self.names[0]])
        with np.errstate(all="ignore"):
            value = _Evaluation(columns, self._quoted).value(self._tree)
        return np.asarray(value)


class _Evaluation:
    """Evaluates a tree for the values of columns."""

    def __init__(
        self, columns: Mapping[str, np.ndarray], quoted: Mapping[str, str]
    ) -> None:
        self._columns = columns
        self._quoted = quoted

    def value(self, node: ast.AST) -> Any:
        match node:
            case ast.Name(id=name):
                return _widened(np.asarray(self._columns[self._quoted.get(name, name)]))
            case ast.Constant(value=value):
                return value
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                chosen = _truth(self.value(values[0]))
                for value in values[1:]:
                    chosen = join(chosen, _truth(self.value(value)))
                return chosen
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~_truth(self.value(operand))
            case ast.UnaryOp(op=op, operand=operand):
                value = _number(self.value(operand))
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right):
                function = _ARITHMETIC[type(op)]
                sides = (self.value(left), self.value(right))
                return function(*map(_number, sides))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                values = (_number(self.value(one)) for one in arguments)
                return FUNCTIONS[name](*values)
            case ast.Compare():
                return self._compared(node)
        raise AssertionError(ast.dump(node))  # the syntax has no other nodes

    def _compared(self, node: ast.Compare) -> Any:
        chosen: Any = np.True_
        left = self.value(node.left)
        for op, other in zip(node.ops, node.comparators, strict=True):
            compare = _COMPARISONS[type(op)]
            if isinstance(other, ast.List | ast.Tuple):
                right: Any = np.asarray([ast.literal_eval(e) for e in other.elts])
                within = isinstance(op, ast.In | ast.Eq)
                compare = _COMPARISONS[ast.In if within else ast.NotIn]
            else:
                right = self.value(other)
            chosen = np.logical_and(chosen, compare(left, right))
            left = right
        return chosen


def _truth(value: Any) -> np.ndarray:
    return np.asarray(value).astype(bool)


def _number(value: Any) -> Any:
    """Return 0 or 1 for conditions, whose sum would be a condition again."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "b":
        return value.astype(np.int64)
    return value


def _widened(column: np.ndarray) -> np.ndarray:
    """Return integers of 64 bits, whose differences do not overflow."""
    if column.dtype.kind in "iu" and column.dtype != np.uint64:
        return column.astype(np.int64)
    return column
