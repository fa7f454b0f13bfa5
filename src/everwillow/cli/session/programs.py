"""Fits whose compiled program is kept on disk, so that a second run does not trace.

The cache of JAX saves the time of compilation, but not of tracing and lowering, which
take longer than all other parts of a short command.
"""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optimistix as optx
from jax.errors import JaxRuntimeError
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from everwillow._errors import RESULTS
from everwillow.cli.session.fingerprint import (
    NoFingerprintError,
    code_version,
    fingerprint_of,
)
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.outcome import Outcome
from everwillow.engine.positivity_edge import minimise_with_edge
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.run import prepare_task, resolve, solve_task
from everwillow.model import AbstractModel
from everwillow.solvers.trust_region_newton import TrustRegionNewton


# Code without optimisation runs three times slower and compiles three times faster. Up
# to this number of parameters that is faster for a program that runs once.
FEW = 600

# The largest size of all programs; the oldest are removed first.
MOST_BYTES = 300_000_000

# Static fields are no outputs of a program: all programs on disk run the exact fit.
_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Outcome)
    if not field.metadata.get("static", False)
)


@dataclasses.dataclass
class KeptPrograms:
    """The programs of fits, loaded from disk if they are there.

    Attributes:
        folder: The folder of programs; None if they are not kept.
        seconds: The time to load or to compile them.
        loaded: Whether they were loaded from disk.
    """

    folder: pathlib.Path | None
    seconds: float = 0.0
    loaded: bool = False
    _new: list[tuple[pathlib.Path, Any]] = dataclasses.field(default_factory=list)
    _known: dict[Any, Callable[..., Any]] = dataclasses.field(default_factory=dict)

    def minimise(self, task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
        """Minimise, as `everwillow.engine.programs.run` does."""
        if not isinstance(task.solver, TrustRegionNewton):
            return programs.run(task, numbers)
        arrays, static = programs.split((task, numbers))
        values = self._run(static, arrays, len(numbers.index))
        fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
        codes = jax.tree.structure(RESULTS.flat_direction)
        fields["status"] = jax.tree.unflatten(codes, [fields["status"]])
        outcome = Outcome(**fields)
        solution = optx.Solution(
            value=outcome.x,
            result=optx.RESULTS.successful,
            aux=None,
            stats={
                "num_steps": outcome.num_steps,
                "max_steps": task.max_steps,
                "edge": bool(outcome.status == RESULTS.edge_of_positivity),
            },
            state=None,
        )
        return outcome, solution

    def keep(self) -> None:
        """Write the new programs to disk; called at the end of a command."""
        for file, program in self._new:
            _save(file, program)

    def _run(
        self, static: programs.Static, arrays: list[Any], size: int
    ) -> list[np.ndarray]:
        """Run the program from disk, or one that is compiled where that fails."""
        began = time.perf_counter()
        key = static, tuple((np.shape(one), np.dtype(one.dtype)) for one in arrays)
        if key not in self._known:
            self._known[key] = self._opened(static, arrays, size)
        self.seconds += time.perf_counter() - began
        try:
            return list(map(np.asarray, self._known[key](arrays)))
        except JaxRuntimeError:
            if not self.loaded:
                raise
        # The program from disk does not run on this machine.
        self.loaded = False
        self._known[key] = _compiled(static, arrays, _options(size), has_file=False)
        return list(map(np.asarray, self._known[key](arrays)))

    def _opened(
        self, static: programs.Static, arrays: list[Any], size: int
    ) -> Callable[..., Any]:
        """Return the program from disk, or compile it."""
        _register_lapack()
        options, file = _options(size), None
        if self.folder is not None:
            file = _file(static, arrays, self.folder, options)
        program = None if file is None else _load(file, arrays)
        self.loaded = program is not None
        if program is None:
            program = _compiled(static, arrays, options, has_file=file is not None)
            if file is not None:
                self._new.append((file, program))
        return program


def _options(size: int) -> dict[str, Any]:
    """Return the options of the compiler for a number of parameters."""
    options: dict[str, Any] = dict(programs.COMPILER_OPTIONS)
    if size <= FEW:
        options["xla_backend_optimization_level"] = 0
    return options


def fit(
    model: AbstractModel,
    fixed: Mapping[Any, Any],
    folder: pathlib.Path | None,
    *,
    max_steps: int = 256,
    kept: KeptPrograms | None = None,
) -> tuple[FitResult, KeptPrograms]:
    """Fit a model, with a program from disk if there is one.

    The same fit as `everwillow.fit` with ``throw=False``, but its program cannot be
    batched or differentiated.

    Args:
        model: The model.
        fixed: As in `everwillow.fit`.
        folder: The folder of programs; None if they are not kept.
        max_steps: As in `everwillow.fit`.
        kept: The programs of a previous fit.
    """
    kept = KeptPrograms(folder) if kept is None else kept
    arguments = resolve(model, fixed=fixed)
    task, numbers = prepare_task(arguments, max_steps=max_steps)
    result = solve_task(
        task, numbers, arguments.constraints, throw=False, minimise=kept.minimise
    )
    return result, kept


def _register_lapack() -> None:
    """Make JAX register the functions of LAPACK that a program from disk calls.

    JAX registers them when it lowers the first program that needs one.
    """
    jax.jit(jax.lax.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), "float64"))


def _minimum(static: programs.Static, arrays: list[Any]) -> list[Any]:
    """Minimise, and return the fields of an `Outcome`."""
    task, numbers = programs.join(arrays, static)
    assert isinstance(task, Task)
    assert isinstance(numbers, Numbers)
    outcome, _ = minimise_with_edge(task, numbers)
    fields = [getattr(outcome, name) for name in _FIELDS]
    return [jax.tree.leaves(field)[0] for field in fields]


def _compiled(
    static: programs.Static, arrays: list[Any], options: Any, *, has_file: bool
) -> Callable[..., Any]:
    """Compile the program."""
    # An executable from the cache of JAX cannot be written to a file that works.
    with _without_cache(has_file):
        return (
            jax.jit(_minimum, static_argnums=0, compiler_options=options)
            .lower(static, arrays)
            .compile()
        )


@contextlib.contextmanager
def _without_cache(off: bool):  # noqa: FBT001
    """Switch the cache of JAX off.

    JAX decides at its first compilation whether the process uses the cache, and is made
    to decide anew: programs that are compiled afterwards are cached again.
    """
    if not off:
        yield
        return
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        reset_cache()


def _file(
    static: programs.Static, arrays: list[Any], folder: pathlib.Path, options: Any
) -> pathlib.Path | None:
    """Return the file of a program; None if its structure has no fingerprint."""
    kinds = [(np.shape(array), np.dtype(array.dtype).str) for array in arrays]
    device = jax.devices()[0]
    place = (device.platform, device.device_kind, len(jax.devices()))
    leaves = [_Marker if isinstance(leaf, type) else leaf for leaf in static.leaves]
    try:
        name = fingerprint_of(
            static.treedef, leaves, kinds, place, options, code_version()
        )
    except NoFingerprintError:
        return None
    return folder / "fits" / f"{name[:40]}.program"


class _Marker:
    """Stands where an array was."""


def _load(file: pathlib.Path, arrays: list[Any]) -> Callable[..., Any] | None:
    """Return the program in a file, None if there is none that works here."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    inputs = jax.tree.structure(((arrays,), {}))
    outputs = jax.tree.structure([0] * len(_FIELDS))
    try:
        program = serialize_executable.deserialize_and_load(
            content, inputs, outputs, execution_devices=_devices(arrays)
        )
        os.utime(file)
    except Exception:
        # Unpickling a damaged file, or one from another machine, raises nearly any
        # error; the program is compiled again.
        with contextlib.suppress(OSError):
            file.unlink()
        return None
    return program


def _devices(arrays: list[Any]) -> list[Any]:
    """Return the devices of a program: those over which its arguments are divided."""
    shardings = [one.sharding for one in arrays if isinstance(one, jax.Array)]
    sets = [one.device_set for one in shardings]
    return (
        sorted(max(sets, key=len, default=set()), key=lambda one: one.id)
        or (jax.devices()[:1])
    )


def _save(file: pathlib.Path, program: Any) -> None:
    """Write a program, and remove the oldest ones if they are too large together."""
    # A program that cannot be written is compiled again in the next run.
    with contextlib.suppress(OSError, ValueError, TypeError, JaxRuntimeError):
        content, _, _ = serialize_executable.serialize(program)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(content)
        pathlib.Path(part.name).replace(file)
        _shrink(file.parent)


def _shrink(folder: pathlib.Path) -> None:
    states = [(f.stat().st_mtime, f.stat().st_size, f) for f in folder.iterdir()]
    total = sum(size for _, size, _ in states)
    for _, size, file in sorted(states):
        if total <= MOST_BYTES:
            break
        file.unlink()
        total -= size
