"""Selections of events: expressions over columns, parsed and never executed as text.

The syntax is that of ``query`` in pandas: comparisons, which may be chained; ``and``,
``or``, ``not`` and, with the same precedence, ``&``, ``|``, ``~``; arithmetic; ``in``
and ``not in`` with lists; functions; names of columns, in backticks if they are not
names of Python. ``&&``, ``||`` and ``!`` are accepted too.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, nearest


MAX_LENGTH = 10_000
"""Characters of the longest selection."""

MAX_DEPTH = 150
"""Levels of the deepest selection; evaluation goes down by recursion."""

_FUNCTIONS: dict[str, np.ufunc] = {
    name: getattr(np, name)
    for name in (
        *("abs", "sqrt", "exp", "expm1", "log", "log10", "log1p", "hypot", "floor"),
        *("ceil", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
        *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    )
}
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
_QUOTED = re.compile(r"`([^`]*)`")
_LOGICAL = ((re.compile(r"&&?"), " and "), (re.compile(r"\|\|?"), " or "))
_NOT = re.compile(r"~|!(?!=)")
_PLACEHOLDER = "_column_in_backticks_{}_"


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
        self.text = text
        self._quoted: dict[str, str] = {}
        self._tree = self._parsed(text)
        if _depth(self._tree) > MAX_DEPTH:
            raise self._error(f"it is nested more than {MAX_DEPTH} levels deep")
        found: dict[str, None] = {}
        self._check(self._tree, found, condition=True)
        self.names = tuple(found)

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
            return _truth(self._value(self._tree, columns))

    def _parsed(self, text: str) -> ast.expr:
        if len(text) > MAX_LENGTH:
            raise self._error(f"it has more than {MAX_LENGTH} characters")
        plain = _QUOTED.sub(self._replaced, " ".join(text.split()))
        for pattern, word in _LOGICAL:
            plain = pattern.sub(word, plain)
        try:
            # A bracket, as `not` would end an expression that it does not begin.
            return ast.parse(_NOT.sub(" not ", plain).strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            single = re.search(r"(?<![<>=!])=(?!=)", plain)
            mend = " Equality is written `==`." if single else ""
            reason = error.msg if isinstance(error, SyntaxError) else "cannot be read"
            raise self._error(f"{reason}.{mend}") from None

    def _replaced(self, match: re.Match[str]) -> str:
        name = _PLACEHOLDER.format(len(self._quoted))
        self._quoted[name] = match[1]
        return name

    def _shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for placeholder, name in self._quoted.items():
            text = text.replace(placeholder, f"`{name}`")
        return text

    def _error(self, problem: str) -> ArgumentValueError:
        end = "" if problem.endswith((".", "?")) else "."
        return ArgumentValueError(f"the selection {self.text[:200]!r}: {problem}{end}")

    def _check(
        self, node: ast.expr, found: dict[str, None], *, condition: bool = False
    ) -> None:
        """Check a part of the expression, and collect the columns in it.

        Args:
            node: The part.
            found: Gets the columns.
            condition: Whether it must be true or false for an event.
        """
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self._check(value, found, condition=True)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._check(operand, found, condition=True)
            case ast.Compare(left=left, ops=ops, comparators=others):
                self._check(left, found)
                for op, other in zip(ops, others, strict=True):
                    self._check_compared(op, other, found)
            case ast.Name(id=name):
                found.setdefault(self._quoted.get(name, name))
            case ast.Constant(value=bool()):
                pass
            case _ if condition:
                shown = self._shown(node)
                raise self._error(
                    f"{shown!r} is a number, where a condition is needed. Compare it "
                    "with another number; there are no operations on bits."
                )
            case ast.Constant(value=int() | float()):
                pass
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                self._check(operand, found)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                self._check(left, found)
                self._check(right, found)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                self._check_call(name, arguments, found)
            case _:
                raise self._error(self._refusal(node))

    def _check_compared(
        self, op: ast.cmpop, other: ast.expr, found: dict[str, None]
    ) -> None:
        if type(op) not in _COMPARISONS:
            raise self._error("`is` is not a comparison of numbers. Use `==`.")
        if not isinstance(other, ast.List | ast.Tuple):
            if isinstance(op, ast.In | ast.NotIn):
                raise self._error("`in` needs a list of numbers.")
            return self._check(other, found)
        if not isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
            raise self._error("a list can be compared with `in` and `not in` only.")
        for element in other.elts:
            try:
                float(ast.literal_eval(element))
            except (ValueError, TypeError):
                shown = self._shown(element)
                raise self._error(f"{shown} in a list is not a number.") from None
        return None

    def _check_call(
        self, name: str, arguments: list[ast.expr], found: dict[str, None]
    ) -> None:
        if name not in _FUNCTIONS:
            hint = nearest(name, _FUNCTIONS)
            shown = hint or f" The functions are: {', '.join(_FUNCTIONS)}."
            raise self._error(f"there is no function {name!r}.{shown}")
        wanted = _FUNCTIONS[name].nin
        if len(arguments) != wanted:
            raise self._error(f"{name} takes {wanted} numbers, not {len(arguments)}.")
        for argument in arguments:
            self._check(argument, found)

    def _refusal(self, node: ast.expr) -> str:
        shown = self._shown(node)
        match node:
            case ast.Attribute():
                return (
                    f"{shown!r} is not a column. Write names with dots in backticks: "
                    f"`{shown}`."
                )
            case ast.Constant():
                return f"{shown} is not a number; columns have numbers only."
            case ast.BinOp(op=ast.BitXor()):
                return "a power is written `**`, not `^`."
        return f"{shown!r} is not allowed in a selection."

    def _value(self, node: ast.AST, columns: Mapping[str, np.ndarray]) -> Any:
        match node:
            case ast.Name(id=name):
                return _widened(np.asarray(columns[self._quoted.get(name, name)]))
            case ast.Constant(value=value):
                return value
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                chosen = _truth(self._value(values[0], columns))
                for value in values[1:]:
                    chosen = join(chosen, _truth(self._value(value, columns)))
                return chosen
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~_truth(self._value(operand, columns))
            case ast.UnaryOp(op=op, operand=operand):
                value = _number(self._value(operand, columns))
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right):
                function = _ARITHMETIC[type(op)]
                sides = (self._value(left, columns), self._value(right, columns))
                return function(*map(_number, sides))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                values = (_number(self._value(one, columns)) for one in arguments)
                return _FUNCTIONS[name](*values)
            case ast.Compare():
                return self._compared(node, columns)
        raise AssertionError(ast.dump(node))  # `_check` has refused it

    def _compared(self, node: ast.Compare, columns: Mapping[str, np.ndarray]) -> Any:
        chosen: Any = np.True_
        left = self._value(node.left, columns)
        for op, other in zip(node.ops, node.comparators, strict=True):
            compare = _COMPARISONS[type(op)]
            if isinstance(other, ast.List | ast.Tuple):
                right: Any = np.asarray([ast.literal_eval(e) for e in other.elts])
                within = isinstance(op, ast.In | ast.Eq)
                compare = _COMPARISONS[ast.In if within else ast.NotIn]
            else:
                right = self._value(other, columns)
            chosen = np.logical_and(chosen, compare(left, right))
            left = right
        return chosen


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


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
