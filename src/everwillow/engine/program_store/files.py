"""Compiled programs in files."""

import contextlib
import importlib
import io
import os
import pathlib
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jaxlib.lapack
import numpy as np
from jax.errors import JaxRuntimeError
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from everwillow.engine.program_store.fingerprint import (
    NoFingerprintError,
    code_version,
    fingerprint_of,
)


# The largest size of all programs; the oldest are removed first.
MOST_BYTES = 300_000_000

# Errors of programs that cannot be written, such as those that call back to Python.
_NOT_WRITTEN = (
    AttributeError,
    JaxRuntimeError,
    OSError,
    TypeError,
    ValueError,
    pickle.PickleError,
)


def file_of(
    folder: pathlib.Path,
    function: Callable[..., Any],
    static: Any,
    arrays: Sequence[Any],
    *others: Any,
) -> pathlib.Path | None:
    """Return the file of a program; None if its structure has no fingerprint.

    Args:
        folder: The folder of programs.
        function: The module-level function that it computes.
        static: The structure of its arguments.
        arrays: The arrays of its arguments; only their shapes and types matter.
        *others: What else a program depends on, such as options of the compiler.
    """
    kinds = kinds_of(arrays)
    device = jax.devices()[0]
    place = (device.platform, device.device_kind, len(jax.devices()))
    leaves = [_Marker if isinstance(leaf, type) else leaf for leaf in static.leaves]
    try:
        name = fingerprint_of(
            function, static.treedef, leaves, kinds, place, others, code_version()
        )
    except NoFingerprintError:
        return None
    return folder / f"{name[:40]}.program"


def kinds_of(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Return what a program depends on of its arrays: all but the numbers."""
    first = {jax.devices()[0]}
    kinds: list[Any] = []
    for one in arrays:
        place = None
        if isinstance(one, jax.Array) and one.sharding.device_set != first:
            place = str(one.sharding)
        weak = bool(getattr(one, "weak_type", False))
        kinds.append((np.shape(one), str(one.dtype), weak, place))
    return tuple(kinds)


def devices_of(arrays: Sequence[Any]) -> list[Any]:
    """Return the devices of a program: those over which its arrays are divided."""
    sets = [one.sharding.device_set for one in arrays if isinstance(one, jax.Array)]
    largest = max(sets, key=len, default=set())
    return sorted(largest, key=lambda one: one.id) or jax.devices()[:1]


class _Marker:
    """Stands where an array was."""


def load(file: pathlib.Path, devices: Sequence[Any]) -> Callable[..., Any] | None:
    """Return the program in a file, None if there is none that works here.

    Args:
        file: The file.
        devices: The devices that it runs on.

    Returns:
        The program, a function of the list of arrays.
    """
    try:
        content = file.read_bytes()
    except OSError:
        return None
    try:
        # JAX loads the functions of LAPACK that a program calls only when it lowers the
        # first one that needs them.
        jaxlib.lapack.prepare_lapack_call("potrf_ffi", np.dtype("float64"))
        code, inputs, outputs = _Unpickler(io.BytesIO(content)).load()
        program = serialize_executable.deserialize_and_load(
            code, inputs, outputs, execution_devices=devices
        )
        os.utime(file)
    except Exception:
        # Unpickling a damaged file, or one from another machine, raises nearly any
        # error; the program is compiled again.
        remove(file)
        return None
    return program


def save(file: pathlib.Path, program: Any) -> None:
    """Write a program, and remove the oldest ones if they are too large together."""
    with contextlib.suppress(*_NOT_WRITTEN):
        content = _pickled(serialize_executable.serialize(program))
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            part.write(content)
        pathlib.Path(part.name).replace(file)
        _shrink(file.parent)


class _Pickler(pickle.Pickler):
    """Writes singletons of modules by their names.

    Equinox marks absent fields in the structure of its modules with such an object, and
    tests for its identity.
    """

    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        kind = type(obj)
        if kind.__module__.split(".")[0] != "equinox":
            return None
        for name, value in vars(sys.modules[kind.__module__]).items():
            if value is obj:
                return kind.__module__, name
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: tuple[str, str]) -> Any:
        module, name = pid
        return getattr(importlib.import_module(module), name)


def _pickled(program: tuple[Any, ...]) -> bytes:
    """Return the bytes of a serialised program.

    Raises:
        ValueError: If the structure of its results does not survive.
    """
    content = io.BytesIO()
    _Pickler(content).dump(program)
    content.seek(0)
    if _Unpickler(content).load()[1:] != program[1:]:
        raise ValueError("the structure of results cannot be stored")
    return content.getvalue()


def remove(file: pathlib.Path) -> None:
    """Remove a program that does not run here."""
    with contextlib.suppress(OSError):
        file.unlink()


def _shrink(folder: pathlib.Path) -> None:
    states = [(f.stat().st_mtime, f.stat().st_size, f) for f in folder.iterdir()]
    total = sum(size for _, size, _ in states)
    for _, size, file in sorted(states):
        if total <= MOST_BYTES:
            break
        file.unlink()
        total -= size


@contextlib.contextmanager
def without_cache_of_jax() -> Iterator[None]:
    """Switch the cache of JAX off: an executable from it cannot be written to a file.

    JAX decides at its first compilation whether the process uses the cache, and is made
    to decide anew: programs that are compiled afterwards are cached again.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        yield
        return
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        reset_cache()
