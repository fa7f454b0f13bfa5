"""The values of expressions: a syntax tree computed with `jax.numpy`."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array

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


Environment: TypeAlias = Mapping[str, Any]
"""The values of symbols by name."""


def _approximately_equal(left: Array, right: Array) -> Array:
    # "Within a small multiple of the unit of least precision", says the standard.
    tolerance = 4.0 * float(jnp.finfo(jnp.result_type(left, right)).eps)
    return jnp.abs(left - right) <= tolerance * jnp.maximum(
        jnp.abs(left), jnp.abs(right)
    )


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "+": jnp.add,
    "-": jnp.subtract,
    "*": jnp.multiply,
    "/": jnp.true_divide,
}
_COMPARISONS: dict[str, Callable[..., Array]] = {
    "==": _approximately_equal,
    "!=": lambda a, b: ~_approximately_equal(a, b),
    "===": jnp.equal,
    "!==": jnp.not_equal,
    "<": jnp.less,
    "<=": jnp.less_equal,
    ">": jnp.greater,
    ">=": jnp.greater_equal,
}
_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "exp": jnp.exp,
    "log": jnp.log,
    "sqrt": jnp.sqrt,
    "abs": jnp.abs,
    "min": jnp.minimum,
    "max": jnp.maximum,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tan": jnp.tan,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
}

ARITY = dict.fromkeys(_FUNCTIONS, 1) | {"min": 2, "max": 2, "pow": 2, "ifelse": 3}
"""How many arguments each function takes."""

CONSTANTS = {"PI": math.pi, "EULER": math.e}
"""The numbers that have a name."""

# Beyond, the products of an integer power cost more than the general one.
_LARGEST_INTEGER_POWER = 256


def number(node: Node, env: Environment) -> Array:
    """Evaluate to numbers; TRUE is 1 and FALSE is 0."""
    value = _evaluate(node, env)
    return value.astype(float) if value.dtype == jnp.bool_ else value


def truth(node: Node, env: Environment) -> Array:
    """Evaluate to booleans; a number is true unless it is 0."""
    value = _evaluate(node, env)
    return value if value.dtype == jnp.bool_ else value != 0.0


def log_number(node: Node, env: Environment) -> Array:
    """Evaluate to the logarithm of a density.

    Logarithms of exponential functions in products, quotients and powers are taken
    term by term, so that they do not underflow. If the value is not positive the result
    is ``-inf`` with a gradient of zero.
    """
    if isinstance(node, Call) and node.function == "exp":
        return number(node.arguments[0], env)
    if isinstance(node, Power) and _is_exponential(node.base):
        return number(node.exponent, env) * log_number(node.base, env)
    if isinstance(node, Chain) and node.rest[0][0] in "*/":
        return _log_product(node, env)
    return safe_log(number(node, env))


def safe_log(value: Array) -> Array:
    """Return the logarithm; ``-inf`` with a gradient of zero if it is not defined."""
    positive = value > 0.0
    return jnp.where(positive, jnp.log(jnp.where(positive, value, 1.0)), -jnp.inf)


def _is_exponential(node: Node) -> bool:
    if isinstance(node, Power):
        return _is_exponential(node.base)
    return isinstance(node, Call) and node.function == "exp"


def _log_product(node: Chain, env: Environment) -> Array:
    factors = [("*", node.first), *node.rest]
    plain = [(op, factor) for op, factor in factors if not _is_exponential(factor)]
    # The other factors are multiplied before the logarithm: each may be negative.
    total: Array | None = None
    if plain:
        value = jnp.asarray(1.0)
        for op, factor in plain:
            value = _ARITHMETIC[op](value, number(factor, env))
        total = safe_log(value)
    for op, factor in factors:
        if _is_exponential(factor):
            term = log_number(factor, env)
            term = term if op == "*" else -term
            total = term if total is None else total + term
    assert total is not None
    return total


def _evaluate(node: Node, env: Environment) -> Array:
    match node:
        case Number(value):
            return jnp.asarray(value)
        case Truth(value):
            return jnp.asarray(value)
        case Symbol(name):
            return env[name]
        case Chain(first, rest):
            return _chain(first, rest, env)
        case Unary("!", operand):
            return ~truth(operand, env)
        case Unary(_, operand):
            return -number(operand, env)
        case Power(base, exponent):
            return _power(base, exponent, env)
        case Comparison(operator, left, right):
            return _COMPARISONS[operator](number(left, env), number(right, env))
        case Call("pow", (base, exponent)):
            return _power(base, exponent, env)
        case Call("ifelse", (condition, yes, no)):
            return _conditional(((condition, yes),), no, env)
        case Call(function, arguments):
            return _FUNCTIONS[function](*(number(x, env) for x in arguments))
        case Conditional(cases, otherwise):
            return _conditional(cases, otherwise, env)


def _chain(first: Node, rest: tuple[tuple[str, Node], ...], env: Environment) -> Array:
    if rest[0][0] in _ARITHMETIC:
        value = number(first, env)
        for op, operand in rest:
            value = _ARITHMETIC[op](value, number(operand, env))
        return value
    value = truth(first, env)
    for op, operand in rest:
        other = truth(operand, env)
        value = value & other if op == "&&" else value | other
    return value


def _power(base: Node, exponent: Node, env: Environment) -> Array:
    sign = 1
    if isinstance(exponent, Unary) and isinstance(exponent.operand, Number):
        sign, exponent = (-1 if exponent.operator == "-" else 1), exponent.operand
    value = number(base, env)
    if isinstance(exponent, Number):
        whole = exponent.value.is_integer()
        if whole and exponent.value <= _LARGEST_INTEGER_POWER:
            # Has derivatives of every order at a base of 0 and below it.
            return jax.lax.integer_pow(value, sign * int(exponent.value))
        return jnp.power(value, sign * exponent.value)
    return jnp.power(value, number(exponent, env))


def _conditional(
    cases: tuple[tuple[Node, Node], ...], otherwise: Node, env: Environment
) -> Array:
    value = number(otherwise, env)
    for condition, case in reversed(cases):
        value = jnp.where(truth(condition, env), number(case, env), value)
    return value


def has_branches(root: Node) -> bool:
    """Whether there are branches whose values are computed and then not used."""
    return any(
        isinstance(node, Conditional)
        or (isinstance(node, Call) and node.function == "ifelse")
        for node, _ in walk(root)
    )


def elementwise(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Return an elementwise function whose derivatives ignore branches not taken.

    In reverse mode a cotangent of zero meets the infinite derivative of a branch that
    was not taken, and their product is NaN. In forward mode the derivative of such a
    branch is discarded like its value. So each partial derivative is computed forward,
    at every order.
    """

    @jax.custom_jvp
    def function(*args: Array) -> Array:
        return fn(*args)

    @function.defjvp
    def rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
        value = function(*primals)
        total = jnp.zeros_like(value)
        for index, tangent in enumerate(tangents):
            total = total + elementwise(_partial(fn, index))(*primals) * tangent
        return value, total

    return function


def _partial(fn: Callable[..., Array], index: int) -> Callable[..., Array]:
    def derivative(*args: Array) -> Array:
        def along(x: Array) -> Array:
            return fn(*args[:index], x, *args[index + 1 :])

        point = args[index]
        return jax.jvp(along, (point,), (jnp.ones_like(point),))[1]

    return derivative
