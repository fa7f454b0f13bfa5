"""Programs that are kept in memory and on disk, so that a second run does not trace.

The cache of JAX saves the time of compilation, but not of tracing and lowering, which
take longer than all other parts of a short command.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from everwillow.engine.program_store import files


@dataclasses.dataclass
class ProgramStore:
    """The programs of one process, loaded from disk if they are there.

    Attributes:
        folder: The folder of programs; None if they are not kept on disk.
        brief: Whether the process runs each program once or a few times, as a command
            does, so that compiling fast matters more than fast code.
        seconds: The time spent to load or to compile programs so far.
        loaded: The number of programs loaded from disk.
        compiled: The number of programs compiled.
    """

    folder: pathlib.Path | None
    brief: bool = False
    seconds: float = 0.0
    loaded: int = 0
    compiled: int = 0
    _known: dict[Any, Callable[..., Any]] = dataclasses.field(default_factory=dict)

    def run(
        self,
        function: Callable[..., Any],
        jitted: Any,
        static: Any,
        arrays: list[Any],
        options: dict[str, Any],
    ) -> Any:
        """Run a program.

        Args:
            function: The function that names it; its arguments are pytrees.
            jitted: The result of `jax.jit`, a function of structure and arrays.
            static: The structure of the arguments.
            arrays: Their arrays.
            options: Options of the compiler.

        Returns:
            What `jitted` returns.
        """
        config: Any = jax.config
        key = function, static, _kinds(arrays), config.jax_enable_x64
        program = self._known.get(key)
        if program is not None:
            return program(arrays)
        began = time.perf_counter()
        file = None
        if self.folder is not None:
            precision = config.jax_default_matmul_precision
            file = files.file_of(
                self.folder, function, static, arrays, options, key[-1], precision
            )
        program = None if file is None else files.load(file)
        if program is not None:
            try:
                out = program(arrays)
            except JaxRuntimeError:
                # The program from disk does not run on this machine.
                assert file is not None
                files.remove(file)
            else:
                self.loaded += 1
                self.seconds += time.perf_counter() - began
                self._known[key] = program
                return out
        if file is None:
            program = jitted.lower(static, arrays).compile()
        else:
            with files.without_cache_of_jax():
                program = jitted.lower(static, arrays).compile()
            files.save(file, program)
        self.compiled += 1
        self.seconds += time.perf_counter() - began
        self._known[key] = program
        return program(arrays)

    def clear(self) -> None:
        """Drop the programs in memory."""
        self._known.clear()


@dataclasses.dataclass
class Compiling:
    """What a part of a process spent on programs.

    Attributes:
        seconds: The time to load or to compile them.
        loaded: Whether all of them, at least one, were loaded from disk.
    """

    seconds: float = 0.0
    loaded: bool = False


@contextlib.contextmanager
def compiling(store: ProgramStore | None) -> Iterator[Compiling]:
    """Measure the time that programs take in a ``with`` block; filled at its end."""
    spent = Compiling()
    if store is None:
        yield spent
        return
    seconds, loaded, compiled = store.seconds, store.loaded, store.compiled
    try:
        yield spent
    finally:
        spent.seconds = store.seconds - seconds
        spent.loaded = store.compiled == compiled and store.loaded > loaded


def _kinds(arrays: list[Any]) -> tuple[Any, ...]:
    return tuple(
        (np.shape(one), np.dtype(one.dtype), bool(getattr(one, "weak_type", False)))
        for one in arrays
    )


def on_default_device(arrays: list[Any]) -> bool:
    """Return whether all arrays are on the host or on the first device."""
    first = {jax.devices()[0]}
    return all(
        one.sharding.device_set == first for one in arrays if isinstance(one, jax.Array)
    )
