"""The grammar of expressions, and their parsing into a syntax tree.

HS3, chapter "Generic Expressions". In addition ``**`` is a power, and both spellings of
the conditional are read, since real documents have them.
"""

import functools as ft
import math
import re
from typing import Any

from everwillow._errors import ArgumentValueError, missing_package, nearest
from everwillow.models.hs3.expressions.evaluation import ARITY, CONSTANTS
from everwillow.models.hs3.expressions.nodes import (
    Call,
    Chain,
    Comparison,
    Conditional,
    Node,
    Number,
    Power,
    Symbol,
    Truth,
    Unary,
    walk,
)


MAX_LENGTH = 100_000
"""Characters of the longest expression."""

MAX_DEPTH = 60
"""Levels of the deepest expression; evaluation goes down by recursion."""

# Function names are separate terminals that no space may follow, which distinguishes
# `log(x)` from a model object named `log`. Chains of comparisons have no common
# convention, and are not allowed.
_GRAMMAR = rf"""
start: conditional
?conditional: disjunction
    | disjunction "?" conditional ":" conditional -> choice
?disjunction: conjunction | conjunction (OR conjunction)+ -> chain
?conjunction: equality | equality (AND equality)+ -> chain
?equality: relation | relation EQUALITY relation -> comparison
?relation: sum | sum RELATION sum -> comparison
?sum: product | product (SUM product)+ -> chain
?product: unary | unary (PRODUCT unary)+ -> chain
?unary: power | (SUM | NOT) unary -> unary
?power: atom | atom POWER unary -> power
?atom: NUMBER -> number
    | NAME -> name
    | FUNCTION "(" conditional ("," conditional)* ")" -> call
    | "(" conditional ")"

OR: "||"
AND: "&&"
NOT: "!"
EQUALITY: "===" | "!==" | "==" | "!="
RELATION: "<=" | ">=" | "<" | ">"
SUM: "+" | "-"
PRODUCT: "*" | "/"
POWER: "**" | "^"
NUMBER: /([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?/
FUNCTION.2: /({"|".join(ARITY)})(?=\()/
NAME: /[^\W\d]\w*((\.|::)\w+)*/
%ignore /[ \t\r\n\f]+/
"""


class Failure(Exception):
    """A syntax error and its place, for the message."""


def parse(text: str) -> Node:
    """Return the syntax tree of an expression.

    Raises:
        ArgumentValueError: If the text is not an expression, with the place.
    """
    if len(text) > MAX_LENGTH:
        raise ArgumentValueError(
            f"expression: it has {len(text)} characters, more than {MAX_LENGTH}. "
            "Split it into several functions."
        )
    lark = _lark()
    try:
        node = _parser().parse(text)
    except Failure as failure:
        message, position = failure.args
        raise _error(text, position, message) from None
    except lark.exceptions.UnexpectedCharacters as failure:
        position = failure.pos_in_stream
        message = f"unexpected character {text[position]!r}"
        raise _error(text, position, message) from None
    except lark.exceptions.UnexpectedToken as failure:
        raise _unexpected(text, failure.token) from None
    depth = max(level for _, level in walk(node))
    if depth > MAX_DEPTH:
        raise ArgumentValueError(
            f"expression: it is nested {depth} levels deep, more than {MAX_DEPTH}. "
            "Split it into several functions."
        )
    return node


def _lark() -> Any:
    # Only documents with expressions need the parser.
    try:
        import lark  # noqa: PLC0415
    except ImportError as error:
        raise missing_package(
            "Expressions in HS3 documents need lark", "hs3"
        ) from error
    return lark


@ft.cache
def _parser() -> Any:
    lark = _lark()
    builder = lark.v_args(inline=True)(type("Builder", (lark.Transformer,), _RULES))
    # LALR with the tree built on the way recurses nowhere, however deep the text.
    return lark.Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=builder())


def _build_number(_: Any, token: Any) -> Node:
    value = float(token)
    if not math.isfinite(value):
        raise Failure("the number is too large", token.start_pos)
    return Number(value)


def _build_name(_: Any, token: Any) -> Node:
    name = str(token)
    if name in CONSTANTS:
        return Number(CONSTANTS[name])
    if name in ("TRUE", "FALSE"):
        return Truth(name == "TRUE")
    return Symbol(name)


def _build_chain(_: Any, first: Node, *rest: Any) -> Node:
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return Chain(first, tuple((str(op), operand) for op, operand in pairs))


def _build_unary(_: Any, operator: Any, operand: Node) -> Node:
    return Unary(str(operator), operand) if operator != "+" else operand


def _build_call(_: Any, function: Any, *arguments: Node) -> Node:
    arity = ARITY[function]
    if len(arguments) != arity:
        plural = "" if arity == 1 else "s"
        raise Failure(
            f"{function} takes {arity} argument{plural}, not {len(arguments)}",
            function.start_pos,
        )
    return Call(str(function), arguments)


def _build_choice(_: Any, condition: Node, yes: Node, no: Node) -> Node:
    # `a ? b : c ? d : e` is one node: a list of cases is as deep as a single one.
    if isinstance(no, Conditional):
        return Conditional(((condition, yes), *no.cases), no.otherwise)
    return Conditional(((condition, yes),), no)


_RULES = {
    "start": lambda _, node: node,
    "choice": _build_choice,
    "chain": _build_chain,
    "comparison": lambda _, left, op, right: Comparison(str(op), left, right),
    "unary": _build_unary,
    "power": lambda _, base, _op, exponent: Power(base, exponent),
    "number": _build_number,
    "name": _build_name,
    "call": _build_call,
}


def _unexpected(text: str, token: Any) -> ArgumentValueError:
    if token.type == "$END":
        return _error(text, len(text), "the expression ends too early")
    position = token.start_pos
    before = re.search(r"([^\W\d][\w.:]*)(\s*)$", text[:position])
    if token == "(" and before:
        name, space = before.groups()
        if space and name in ARITY:
            message = f"there must be no space between {name} and its bracket"
        elif name in ARITY:
            message = f"unexpected {str(token)!r}"
        else:
            hint = nearest(name, ARITY)
            message = f"there is no function {name!r}" + (f".{hint}" if hint else "")
            position = before.start()
        return _error(text, position, message)
    return _error(text, position, f"unexpected {str(token)!r}")


def _error(text: str, position: int, message: str) -> ArgumentValueError:
    """Build the error with the line and a caret below its position."""
    begin = max(0, position - 50)
    shown = text[begin : position + 28]
    # One column for each character, or the caret points elsewhere.
    shown = "".join(c if c.isprintable() else " " for c in shown)
    lead = "..." if begin else ""
    tail = "..." if position + 28 < len(text) else ""
    caret = " " * (len(lead) + position - begin) + "^"
    stop = "" if message.endswith("?") else ","
    msg = f"expression: {message}{stop} at character {position + 1}:"
    return ArgumentValueError(f"{msg}\n    {lead}{shown}{tail}\n    {caret}")
