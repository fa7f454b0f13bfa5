"""The syntax of expressions over columns: text to a tree that is safe to evaluate."""

import ast
import re
import warnings

import numpy as np

from everwillow._errors import ArgumentValueError, nearest


MAX_LENGTH = 10_000
"""Characters of the longest selection."""

MAX_DEPTH = 150
"""Levels of the deepest selection; evaluation goes down by recursion."""

FUNCTIONS: dict[str, np.ufunc] = {
    name: getattr(np, name)
    for name in (
        *("abs", "sqrt", "exp", "expm1", "log", "log10", "log1p", "hypot", "floor"),
        *("ceil", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
        *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    )
}
"""The functions, by their names."""

_COMPARISONS = (
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.Eq, ast.NotEq, ast.In, ast.NotIn),
)
_ARITHMETIC = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div),
    *(ast.FloorDiv, ast.Mod, ast.Pow),
)
_QUOTED = re.compile(r"`([^`]*)`")
_LOGICAL = ((re.compile(r"&&?"), " and "), (re.compile(r"\|\|?"), " or "))
_NOT = re.compile(r"~|!(?!=)")
# An element of a column of arrays; `x in [1]` is none.
_ELEMENT = re.compile(r"\b(?!(?:in|not|and|or)\b)([A-Za-z_]\w*)\[(\d+)\]")
_PLACEHOLDER = "_column_in_backticks_{}_"


class FilterSyntax:
    """An expression that has been parsed and checked.

    Args:
        text: The expression.
        condition: Whether it is a selection, else it is a number.

    Attributes:
        text: The expression.
        tree: Its tree, of nodes that are allowed only.
        quoted: The columns in backticks and elements of columns, by the names that they
            have in the tree.
        names: The columns.

    Raises:
        ArgumentValueError: If it is not an expression of this syntax.
    """

    def __init__(self, text: str, *, condition: bool = True) -> None:
        self.text = text
        self._kind = "selection" if condition else "expression"
        self.quoted: dict[str, str] = {}
        self.tree = self._parsed(text)
        if _depth(self.tree) > MAX_DEPTH:
            raise self._error(f"it is nested more than {MAX_DEPTH} levels deep")
        found: dict[str, None] = {}
        self._check(self.tree, found, condition=condition)
        self.names = tuple(found)

    def _parsed(self, text: str) -> ast.expr:
        if len(text) > MAX_LENGTH:
            raise self._error(f"it has more than {MAX_LENGTH} characters")
        plain = _QUOTED.sub(self._replaced, " ".join(text.split()))
        plain = _ELEMENT.sub(self._element, plain)
        for pattern, word in _LOGICAL:
            plain = pattern.sub(word, plain)
        plain = _NOT.sub(" not ", plain).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as "invalid decimal literal"
                return ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            single = re.search(r"(?<![<>=!])=(?!=)", plain)
            mend = " Equality is written `==`." if single else ""
            reason = error.msg if isinstance(error, SyntaxError) else "cannot be read"
            raise self._error(f"{reason}.{mend}") from None

    def _replaced(self, match: re.Match[str]) -> str:
        name = _PLACEHOLDER.format(len(self.quoted))
        self.quoted[name] = match[1]
        return name

    def _element(self, match: re.Match[str]) -> str:
        column = self.quoted.get(match[1], match[1])
        name = _PLACEHOLDER.format(len(self.quoted))
        self.quoted[name] = f"{column}[{match[2]}]"
        return name

    def _shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for placeholder, name in self.quoted.items():
            text = text.replace(placeholder, f"`{name}`")
        return text

    def _error(self, problem: str) -> ArgumentValueError:
        end = "" if problem.endswith((".", "?")) else "."
        return ArgumentValueError(
            f"the {self._kind} {self.text[:200]!r}: {problem}{end}"
        )

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
                found.setdefault(self.quoted.get(name, name))
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
            case ast.BinOp(left=left, op=op, right=right) if isinstance(
                op, _ARITHMETIC
            ):
                self._check(left, found)
                self._check(right, found)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                self._check_call(name, arguments, found)
            case _:
                raise self._error(self._refusal(node))

    def _check_compared(
        self, op: ast.cmpop, other: ast.expr, found: dict[str, None]
    ) -> None:
        if not isinstance(op, _COMPARISONS):
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
        if name not in FUNCTIONS:
            hint = nearest(name, FUNCTIONS)
            shown = hint or f" The functions are: {', '.join(FUNCTIONS)}."
            raise self._error(f"there is no function {name!r}.{shown}")
        wanted = FUNCTIONS[name].nin
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
        return f"{shown!r} is not allowed in the {self._kind}."


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth
