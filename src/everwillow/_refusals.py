"""What JAX says where it has no derivative of a function, and what that means.

JAX, and libraries with rules of their own, raise ordinary errors where a rule is
missing. So does a function that is wrong: evaluating it tells which of the two it is.
"""

from collections.abc import Callable
from typing import Any

import jax

from everwillow._errors import DerivativeError, EverwillowError


# What JAX, and libraries that define their own rules, raise where a rule is missing.
# Errors in the function itself are of these classes too: see `raise_unless_sound`.
REFUSALS = (TypeError, ValueError, NotImplementedError, RuntimeError)


def has_custom_vjp(program: Any) -> bool:
    """Return whether a jaxpr has a `jax.custom_vjp` in it, which refuses forward mode.

    JAX itself says so only when it lowers the program, which is too late.
    """
    return _finds(program, "custom_vjp_call")


def _finds(program: Any, name: str) -> bool:
    """Return whether a primitive is in a jaxpr or in those inside of it."""
    program = getattr(program, "jaxpr", program)
    for equation in program.eqns:
        if equation.primitive.name.startswith(name):
            return True
        inside = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        )
        if any(_finds(p, name) for p in inside if hasattr(p, "eqns")):
            return True
    return False


def refusal_of(fn: Callable[..., Any], *args: Any) -> Exception | None:
    """Return what JAX has against running a function, or None."""
    try:
        program = jax.make_jaxpr(fn)(*args)
    except REFUSALS as error:
        return error
    if _finds(program, "custom_lin"):
        return TypeError("forward mode meets a jax.custom_vjp")
    return None


def raise_unless_sound(
    fn, x: Any, refusal: Exception, *, several: bool = False
) -> None:
    """Raise what was raised if it is the function itself that fails."""
    if isinstance(refusal, EverwillowError):
        raise refusal
    if refusal_of(fn, *(x if several else (x,))) is not None:
        raise refusal


def without_derivatives(refusal: Exception) -> DerivativeError:
    """Return the error that says so, and what to do."""
    msg = (
        f"nll_fn: JAX has no derivatives of it ({first_line(refusal)}). Give it a "
        "gradient with jax.custom_vjp, or fit without derivatives: "
        "solver=optimistix.NelderMead(1e-8, 1e-8)."
    )
    error = DerivativeError(msg)
    error.__cause__ = refusal
    return error


def first_line(error: Exception) -> str:
    """Return the kind of an error and the beginning of its message."""
    text = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {text[0].rstrip('.')}" if text else name
