"""Programs of the compiled core, compiled once for each structure."""

import contextlib
import functools as ft
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optimistix as optx
from jax.core import Tracer

from everwillow._captures import (
    INERT,
    Mark,
    context,
    is_inert,
    marked,
    opened,
    settle,
    structure_parts,
)
from everwillow._mesh_axes import on_one_device
from everwillow._numerics import is_traced
from everwillow.engine import (
    _compile_notice,
    _compile_stage,
    _user_code,
    program_store,
)
from everwillow.engine.adjoint import minimise, minimise_plain
from everwillow.engine.core import Task
from everwillow.engine.outcome import Outcome
from everwillow.engine.positivity_edge import may_have_empty_bins
from everwillow.engine.problem import Numbers


Options = tuple[tuple[str, Any], ...]

# Halves the time XLA takes to compile for the CPU, at no cost in run time.
COMPILER_OPTIONS: Options = (("xla_cpu_use_fusion_emitters", False),)
# The lowest level of optimisation takes two thirds of the time to compile, and the
# program runs as fast where arrays are short.
HASTY_OPTIONS: Options = (*COMPILER_OPTIONS, ("xla_backend_optimization_level", 1))
# Loops of the solvers run a few times: what XLA could do about them takes longer.
_PASSES = (
    "while-loop-invariant-code-motion",
    "while-loop-trip-count-annotator",
    "simplify-while-loops",
    "while-loop-unroller",
)
# Without optimisation compiling takes a fifth of the time; one module is compiled
# faster than several.
BRIEF_OPTIONS: Options = (
    *COMPILER_OPTIONS,
    ("xla_backend_optimization_level", 0),
    ("xla_cpu_parallel_codegen_split_count", 1),
    ("xla_disable_hlo_passes", ",".join(_PASSES)),
)
# Programs of arguments with up to this many numbers run as fast without optimisation;
# with up to that many, the first runs take less time together with compiling.
TINY, SMALL = 500, 60_000

# Number of functions from one line of code that are compiled without a warning.
MANY = 3


@jax.tree_util.register_static
class Static:
    """The structure of a pytree and its leaves that are no arrays.

    Hashable, so that compiled programs are kept under it.

    Attributes:
        treedef: The structure.
        leaves: The leaves that are no arrays, with `_Array` in place of arrays.
        marks: Marks of the values that functions among these hold now.
    """

    __slots__ = ("_hash", "leaves", "marks", "treedef")

    def __init__(
        self, treedef: Any, leaves: tuple[Any, ...], marks: tuple[Mark, ...] = ()
    ) -> None:
        self.treedef = treedef
        self.leaves = leaves
        self.marks = marks
        try:
            self._hash = hash((treedef, leaves))
        except TypeError:
            # Objects without a hash are compared by their marks.
            self._hash = hash((treedef, tuple(map(type, leaves))))

    def __reduce__(self) -> tuple[Any, ...]:
        # Hashes of strings differ from process to process.
        return Static, (self.treedef, self.leaves, self.marks)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Static)
            and self._hash == other._hash
            and self.marks == other.marks
            and all(map(_is_same, self.leaves, other.leaves))
            and self.treedef == other.treedef
        )

    def __hash__(self) -> int:
        return self._hash

    @property
    def holders(self) -> list[Any]:
        """The functions and objects in it that may hold values of their own."""
        leaves = [leaf for leaf in self.leaves if type(leaf) not in INERT]
        holding = [leaf for leaf in leaves if leaf is not _Array and not is_inert(leaf)]
        return [*holding, *structure_parts(self.treedef)]


def _is_same(one: Any, other: Any) -> bool:
    kind = type(one)
    return one is other or (
        kind is type(other) and kind.__hash__ is not None and bool(one == other)
    )


class _Array:
    """Placeholder of an array; the class itself is used, so all are equal."""


def split(tree: Any) -> tuple[list[Any], Static]:
    """Split a tree into its arrays, in order, and the rest."""
    leaves, treedef = jax.tree.flatten(tree)
    arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
    other = tuple(_Array if eqx.is_array(leaf) else leaf for leaf in leaves)
    return arrays, Static(treedef, other)


def join(arrays: Iterable[Any], static: Static) -> Any:
    """Undo `split`."""
    remaining = iter(arrays)
    leaves = [next(remaining) if leaf is _Array else leaf for leaf in static.leaves]
    return static.treedef.unflatten(leaves)


# Number of times that a program was traced.
_tracings = [0]


def _run(function: Callable[..., Any], static: Static, arrays: list[Any]) -> Any:
    _tracings[0] += 1
    # The notice is only for functions of users, who can change them.
    noticed = _compile_notice.tracing() if static.holders else contextlib.nullcontext()
    with _compile_stage.tracing(), noticed:
        return on_one_device(
            lambda given: split(function(*join(given, static))), arrays
        )


@ft.cache
def _compiled(function: Callable[..., Any], options: Options) -> Callable[..., Any]:
    return jax.jit(
        ft.partial(_run, function),
        static_argnums=0,
        compiler_options=dict(options) if options else None,
    )


def _ladder(
    static: Static, arrays: list[Any], *, hasty: bool | None, brief: bool
) -> list[Options]:
    """Return options of the compiler: for the first runs of a program, and for many."""
    numbers = sum(map(np.size, arrays)) + sum(mark.numbers for mark in static.marks)
    most = HASTY_OPTIONS if hasty else COMPILER_OPTIONS
    if hasty is False or numbers > SMALL or jax.default_backend() != "cpu":
        return [most]
    if brief or numbers <= TINY:
        return [BRIEF_OPTIONS]
    return [BRIEF_OPTIONS, most]


@contextlib.contextmanager
def _without_optimisation(on: bool) -> Iterator[None]:  # noqa: FBT001
    """Compile what is compiled in a ``with`` block without optimisation."""
    name, config = "jax_disable_most_optimizations", jax.config
    before = config.values[name]
    if not on or before:
        yield
        return
    config.update(name, True)
    try:
        yield
    finally:
        config.update(name, before)


def call(function: Callable[..., Any], *args: Any, hasty: bool | None = None) -> Any:
    """Call a function of pytrees through a program compiled once for each structure.

    Arrays are arguments of the program. All other leaves are part of its key, together
    with the values that functions among them hold now: variables, attributes, cells of
    closures. Results need not be arrays.

    Args:
        function: A module-level function.
        *args: Pytrees.
        hasty: Whether compiling takes longer than running; False if it does not; None
            if the size of the arguments tells.
    """
    arrays, static = split(args)
    holders = static.holders
    if not holders:
        return _called(function, static, arrays, hasty=hasty, named=True)
    marks, traced = marked(holders)
    if traced:
        arrays, static = split(opened(args))
        holders = static.holders
        marks, _ = marked(holders)
    static.marks = marks
    before = _tracings[0]
    in_context = tuple(mark for mark in marks if mark.in_context)
    timer = _compile_notice.waiting()
    try:
        with context(in_context) if in_context else contextlib.nullcontext():
            out = _called(function, static, arrays, hasty=hasty)
    finally:
        _compile_notice.stop(timer)
    if _tracings[0] != before:
        settle(holders, marks)
    return out


def _called(
    function: Callable[..., Any],
    static: Static,
    arrays: list[Any],
    *,
    hasty: bool | None,
    named: bool = False,
) -> Any:
    try:
        return join(*_ran(function, static, arrays, hasty=hasty, named=named))
    except Exception as error:
        told = _user_code.told(error, join(arrays, static))
        if told is error:
            raise
        raise told from None


def _ran(
    function: Callable[..., Any],
    static: Static,
    arrays: list[Any],
    *,
    hasty: bool | None,
    named: bool,
) -> Any:
    store = program_store.active()
    ladder = _ladder(static, arrays, hasty=hasty, brief=store.brief)
    if any(isinstance(array, Tracer) for array in arrays):
        # JAX takes options of the compiler only outside of all transformations.
        with _without_optimisation(ladder[0] is BRIEF_OPTIONS):
            return _compiled(function, ())(static, arrays)
    stored = named and (store.folder is not None or len(ladder) > 1)
    try:
        with _compile_stage.calling():
            if stored:
                jitted = _compiled(function, ())
                return store.run(function, jitted, static, arrays, ladder)
            return _compiled(function, ladder[-1])(static, arrays)
    except ValueError as error:
        # Compiler options are only allowed outside of a user's own `jax.jit`, which
        # cannot be detected where none of our arguments is traced.
        if "compiler_options" not in str(error):
            raise
        return _compiled(function, ())(static, arrays)


def run(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise, compiled.

    The search for a minimum at the edge of positivity doubles the program, and few fits
    need it: outside of a trace only these compile it.
    """
    if may_have_empty_bins(task, numbers) and not is_traced((task, numbers)):
        outcome, solution = call(minimise_plain, task, numbers)
        again = solution.stats.pop("again")
        if not isinstance(again, Tracer) and not again:
            return outcome, solution
    return call(minimise, task, numbers)


_seen: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()


def warn_about_new_functions(objective: Any) -> None:
    """Warn when functions from one line of code are compiled again and again.

    A lambda written inside a call is a new function each time, which may compute
    something else.
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
            stacklevel=4,
        )
