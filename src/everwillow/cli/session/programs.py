"""Fits whose compiled program is kept on disk, so that a second run need not trace.

JAX's own cache saves compiling. It cannot save what comes before, tracing and lowering,
which take longer than all the rest of a short command.
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
from jax.experimental import serialize_executable

from everwillow._errors import RESULTS
from everwillow.cli.session import lapack
from everwillow.cli.session.fingerprint import (
    NoFingerprintError,
    code_version,
    fingerprint,
)
from everwillow.engine import programs
from everwillow.engine.bound_errors import bound_distances
from everwillow.engine.core import Task
from everwillow.engine.outcome import Outcome
from everwillow.engine.positivity_edge import minimise_with_edge
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.run import (
    assemble,
    prepare_task,
    resolve,
    solve_task,
    with_remark,
)
from everwillow.model import AbstractModel
from everwillow.solvers.trust_region_newton import TrustRegionNewton


# Code that nobody optimised runs three times slower and is compiled three times
# faster; up to so many parameters that pays for a program that runs once.
FEW = 600

# Of all programs together; the oldest go first.
MOST_BYTES = 300_000_000

# What is static is not in the program: all that is kept on disk is exact.
_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Outcome)
    if not field.metadata.get("static", False)
)
# The codes of `RESULTS`; equinox has no public door to the names.
_CODES = {
    int(jax.tree.leaves(status)[0]): status
    for status in vars(RESULTS)["_name_to_item"].values()
}


@dataclasses.dataclass
class Stored:
    """What became of a program.

    Attributes:
        seconds: How long it took to load or to compile it.
        loaded: Whether it was found on disk.
        keep: Writes it there if it was not; to be called when there is time.
    """

    seconds: float
    loaded: bool
    keep: Callable[[], None]


def fit(
    model: AbstractModel,
    fixed: Mapping[Any, Any],
    folder: pathlib.Path | None,
    *,
    max_steps: int = 256,
) -> tuple[FitResult, Stored]:
    """Fit a model, with a program from disk if there is one.

    The same fit as `everwillow.fit` with ``throw=False``, without what makes its
    program batchable and differentiable.

    Args:
        model: What to fit.
        fixed: As in `everwillow.fit`.
        folder: Where programs are; None if they are not kept.
        max_steps: As in `everwillow.fit`.
    """
    arguments = resolve(model, fixed=fixed)
    constraints = arguments.constraints
    task, numbers = prepare_task(arguments, max_steps=max_steps)
    if not (isinstance(task.solver, TrustRegionNewton) and np.any(numbers.mask)):
        began = time.perf_counter()
        result = solve_task(task, numbers, constraints, throw=False)
        return result, Stored(time.perf_counter() - began, False, _nothing)
    arrays, static = programs.split((task, numbers))
    values, stored = _run(static, arrays, folder, len(numbers.index))
    fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    fields["status"] = _CODES[int(fields["status"])]
    outcome = Outcome(**fields)
    solution = optx.Solution(
        value=outcome.x,
        result=optx.RESULTS.successful,
        aux=None,
        stats={
            "num_steps": outcome.num_steps,
            "max_steps": max_steps,
            "edge": fields["status"] is RESULTS.edge_of_positivity,
        },
        state=None,
    )
    sides = bound_distances(task, numbers, outcome)
    result = assemble(task.layout, numbers, outcome, solution, constraints, sides)
    return with_remark(task, numbers, result), stored


def _run(
    static: programs.Static, arrays: list[Any], folder: pathlib.Path | None, size: int
) -> tuple[list[np.ndarray], Stored]:
    """Run the program from disk, or one that is compiled where that does not work."""
    program, stored = _program(static, arrays, folder, size)
    try:
        return list(map(np.asarray, program(arrays))), stored
    except Exception:
        if not stored.loaded:
            raise
    program, stored = _program(static, arrays, None, size)
    return list(map(np.asarray, program(arrays))), stored


def _nothing() -> None:
    """Keep nothing."""


def _minimum(static: programs.Static, arrays: list[Any]) -> list[Any]:
    """Minimise, and return the fields of an `Outcome`."""
    task, numbers = programs.join(arrays, static)
    assert isinstance(task, Task)
    assert isinstance(numbers, Numbers)
    outcome, _ = minimise_with_edge(task, numbers)
    fields = [getattr(outcome, name) for name in _FIELDS]
    return [jax.tree.leaves(field)[0] for field in fields]


def _program(
    static: programs.Static, arrays: list[Any], folder: pathlib.Path | None, size: int
) -> tuple[Callable[..., Any], Stored]:
    """Load the program from disk, or compile it."""
    options: dict[str, Any] = dict(programs.COMPILER_OPTIONS)
    if size <= FEW:
        options["xla_backend_optimization_level"] = 0
    began = time.perf_counter()
    # A program from disk has not been lowered here.
    lapack.ready()
    file = None if folder is None else _file(static, arrays, folder, options)
    if file is not None:
        program = _load(file, arrays)
        if program is not None:
            return program, Stored(time.perf_counter() - began, True, _nothing)
    # One place for each program is enough.
    with _without_cache(file is not None):
        program = (
            jax.jit(_minimum, static_argnums=0, compiler_options=options)
            .lower(static, arrays)
            .compile()
        )
    seconds = time.perf_counter() - began
    if file is None:
        return program, Stored(seconds, False, _nothing)
    return program, Stored(seconds, False, lambda: _save(file, program))


@contextlib.contextmanager
def _without_cache(off: bool):  # noqa: FBT001
    """Switch JAX's own cache off."""
    if not off:
        yield
        return
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def _file(
    static: programs.Static, arrays: list[Any], folder: pathlib.Path, options: Any
) -> pathlib.Path | None:
    """Return the file of a program, None if nothing tells its structure for sure."""
    kinds = [(np.shape(array), np.dtype(array.dtype).str) for array in arrays]
    device = jax.devices()[0]
    place = (device.platform, device.device_kind, len(jax.devices()))
    leaves = [_Marker if isinstance(leaf, type) else leaf for leaf in static.leaves]
    try:
        name = fingerprint(
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
            content, inputs, outputs, execution_devices=jax.devices()[:1]
        )
        os.utime(file)
    except Exception:
        # Cut off, or of another machine after all: made again.
        with contextlib.suppress(OSError):
            file.unlink()
        return None
    return program


def _save(file: pathlib.Path, program: Any) -> None:
    """Write a program, and remove the oldest ones where there are too many."""
    # What cannot be kept is compiled again the next time.
    with contextlib.suppress(Exception):
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
