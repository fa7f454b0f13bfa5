"""Programs that are kept in memory and on disk, so that a second run does not trace.

The cache of JAX saves the time of compilation, but not of tracing and lowering, which
take longer than all other parts of a short command.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.errors import JaxRuntimeError

from everwillow.engine.program_store import files


# A program that has run this many times is part of a loop, and worth an optimised one.
# A number and not a time, so that results do not depend on what else a machine does.
FEW_RUNS = 10

Options = tuple[tuple[str, Any], ...]


@dataclasses.dataclass
class _Known:
    """A program in memory.

    Attributes:
        program: The compiled program.
        better: Options of the compiler for an optimised one; None if there is none.
        lowered: What is to be compiled; None if the program is from disk.
        file: The file that it is from, if any.
        runs: How many times it ran.
    """

    program: Callable[..., Any]
    better: Options | None = None
    lowered: Any = None
    file: pathlib.Path | None = None
    runs: int = 0


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
    _known: dict[Any, _Known] = dataclasses.field(default_factory=dict)

    def run(
        self,
        function: Callable[..., Any],
        jitted: Any,
        static: Any,
        arrays: list[Any],
        ladder: Sequence[Options],
    ) -> Any:
        """Run a program.

        Args:
            function: The function that names it; its arguments are pytrees.
            jitted: The result of `jax.jit`, a function of structure and arrays.
            static: The structure of the arguments.
            arrays: Their arrays.
            ladder: Options of the compiler; the second ones, if any, are those for a
                program that runs many times.

        Returns:
            What `jitted` returns.
        """
        config: Any = jax.config
        settings = config.jax_enable_x64, str(config.jax_default_device)
        key = function, static, files.kinds_of(arrays), settings
        known = self._known.get(key)
        if known is None or (known.better and known.runs >= FEW_RUNS):
            began = time.perf_counter()
            if known is None:
                known = self._opened(key, jitted, arrays, ladder)
            else:
                known = self._improved(known, key, jitted, arrays)
            self.seconds += time.perf_counter() - began
            self._known[key] = known
        known.runs += 1
        try:
            return known.program(arrays)
        except JaxRuntimeError:
            if known.file is None or known.runs > 1:
                raise
        # The program from disk does not run on this machine.
        files.remove(known.file)
        del self._known[key]
        return self.run(function, jitted, static, arrays, ladder)

    def _opened(
        self, key: Any, jitted: Any, arrays: list[Any], ladder: Sequence[Options]
    ) -> _Known:
        """Return the best program on disk, or compile the first."""
        kept = [self._file(key, arrays, options) for options in ladder]
        for options, file in zip(reversed(ladder), reversed(kept), strict=True):
            program = None
            if file is not None:
                program = files.load(file, files.devices_of(arrays))
            if program is not None:
                self.loaded += 1
                better = ladder[-1] if options != ladder[-1] else None
                return _Known(program, better, file=file)
        lowered = jitted.lower(key[1], arrays)
        program = self._compile(lowered, kept[0], ladder[0])
        if len(ladder) == 1:
            return _Known(program)
        return _Known(program, ladder[-1], lowered)

    def _improved(
        self, known: _Known, key: Any, jitted: Any, arrays: list[Any]
    ) -> _Known:
        """Compile a program again, for many runs."""
        assert known.better is not None
        lowered = known.lowered or jitted.lower(key[1], arrays)
        file = self._file(key, arrays, known.better)
        return _Known(self._compile(lowered, file, known.better))

    def _compile(
        self, lowered: Any, file: pathlib.Path | None, options: Options
    ) -> Callable[..., Any]:
        """Compile a program, and write it to disk."""
        self.compiled += 1
        if file is None:
            return lowered.compile(compiler_options=dict(options))
        with files.without_cache_of_jax():
            program = lowered.compile(compiler_options=dict(options))
        files.save(file, program)
        return program

    def _file(
        self, key: Any, arrays: list[Any], options: Options
    ) -> pathlib.Path | None:
        if self.folder is None:
            return None
        function, static, _, settings = key
        precision = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009
        return files.file_of(
            self.folder, function, static, arrays, options, settings, precision
        )

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
def compiling(store: ProgramStore) -> Iterator[Compiling]:
    """Measure the time that programs take in a ``with`` block; filled at its end."""
    spent = Compiling()
    seconds, loaded, compiled = store.seconds, store.loaded, store.compiled
    try:
        yield spent
    finally:
        spent.seconds = store.seconds - seconds
        spent.loaded = store.compiled == compiled and store.loaded > loaded
