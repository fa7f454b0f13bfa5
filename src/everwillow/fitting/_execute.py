"""Run the compiled core: once compiled for each structure, in or out of a trace."""

import functools as ft
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.core import Tracer

from everwillow.fitting._adjoint import minimise
from everwillow.fitting._core import Task
from everwillow.fitting._layout import is_traced
from everwillow.fitting._outcome import Outcome
from everwillow.fitting._problem import Numbers


# Halves the time XLA takes to compile for the CPU, at no cost in run time.
COMPILER_OPTIONS = {"xla_cpu_use_fusion_emitters": False}
# Code that nobody optimised runs three times slower and is compiled three times faster.
HASTY_OPTIONS = COMPILER_OPTIONS | {"xla_backend_optimization_level": 0}

# How many functions born in one line of code are compiled before `fit` warns.
MANY = 3


@jax.tree_util.register_static
class Static:
    """The structure of a pytree and its leaves that are no arrays.

    Hashable, so that compiled programs are kept under it.
    """

    __slots__ = ("_hash", "leaves", "treedef")

    def __init__(self, treedef: Any, leaves: tuple[Any, ...]) -> None:
        self.treedef = treedef
        self.leaves = leaves
        self._hash = hash((treedef, leaves))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Static)
            and self._hash == other._hash
            and self.leaves == other.leaves
            and self.treedef == other.treedef
        )

    def __hash__(self) -> int:
        return self._hash


class _Array:
    """Stands where an array was; all are one."""


def split(tree: Any) -> tuple[list[Any], Static]:
    """Split a tree into its arrays, in order, and the rest."""
    leaves, treedef = jax.tree.flatten(tree)
    arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
    rest = tuple(_Array if eqx.is_array(leaf) else leaf for leaf in leaves)
    return arrays, Static(treedef, rest)


def join(arrays: Iterable[Any], static: Static) -> Any:
    """Undo `split`."""
    remaining = iter(arrays)
    leaves = [next(remaining) if rest is _Array else rest for rest in static.leaves]
    return static.treedef.unflatten(leaves)


def _run(function: Callable[..., Any], static: Static, arrays: list[Any]) -> Any:
    return split(function(*join(arrays, static)))


@ft.cache
def _compiled(
    function: Callable[..., Any], *, options: bool, hasty: bool = False
) -> Callable[..., Any]:
    chosen = HASTY_OPTIONS if hasty else COMPILER_OPTIONS
    return jax.jit(
        ft.partial(_run, function),
        static_argnums=0,
        compiler_options=chosen if options else None,
    )


def call(function: Callable[..., Any], *args: Any, hasty: bool = False) -> Any:
    """Call a function of pytrees through a program compiled once for each structure.

    Arrays are arguments of the program, everything else is part of its key; what is
    not an array in the result comes back too.

    Args:
        function: A module-level function.
        *args: Pytrees.
        hasty: Whether the program is so small that compiling matters more than running.
    """
    arrays, static = split(args)
    if any(isinstance(array, Tracer) for array in arrays):
        return join(*_compiled(function, options=False)(static, arrays))
    try:
        return join(*_compiled(function, options=True, hasty=hasty)(static, arrays))
    except ValueError as error:
        # Compiler options are only allowed outside of a user's own `jax.jit`, which
        # nothing tells where none of our arguments is traced.
        if "compiler_options" not in str(error):
            raise
        return join(*_compiled(function, options=False)(static, arrays))


def run(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise, compiled."""
    return call(minimise, task, numbers)


_seen: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()


def warn_if_reborn(objective: Any) -> None:
    """Warn when functions from one line of code are compiled again and again.

    A lambda written inside a call is a new function each time, and nothing tells that
    it computes the same.
    """
    code = getattr(objective, "__code__", None)
    if code is None:
        return
    seen = _seen.setdefault(code, set())
    if id(objective) in seen:
        return
    seen.add(id(objective))
    if len(seen) == MANY + 1:
        warnings.warn(
            f"fit has compiled {MANY} different functions from {code.co_filename}, "
            f"line {code.co_firstlineno}. A function that is made anew for each fit is "
            "compiled anew each time. Define it once, outside of the loop, and pass "
            "what changes through `observation`.",
            stacklevel=3,
        )


def hoist(objective: Any, params: Any, observation: Any) -> Any:
    """Turn tracers that a function closes over into its arguments.

    Only a function that does so is converted, as the conversion makes a new object
    that no compiled program is known for.
    """
    converted = eqx.filter_closure_convert(
        lambda p, o: jnp.asarray(objective(p, o)), params, observation
    )
    return converted if is_traced(converted) else objective
