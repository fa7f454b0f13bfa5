"""The fit that the commands for workspaces begin with, and how they end."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from everwillow.cli import files
from everwillow.cli.report.fits import counted, headline
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.terminal import busy, show
from everwillow.cli.request import FORMATS, Input, Request
from everwillow.cli.session.programs import KeptPrograms, fit
from everwillow.fitting import FitResult


@dataclasses.dataclass
class WorkspaceFit:
    """A fit, and how long a command took.

    Attributes:
        given: What was read.
        result: The result.
        stored: What became of the compiled program of the fit.
        ran: How long the program ran, in seconds.
        after: What was done with the fit, and how long that took with all of its
            compiling.
    """

    given: Input
    result: FitResult
    stored: KeptPrograms
    ran: float
    after: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, given: Input, folder: pathlib.Path | None, max_steps: int = 256
    ) -> "WorkspaceFit":
        """Fit a model, with a program from a folder if there is one."""
        began = time.perf_counter()
        result, stored = fit(given.model, given.fixed, folder, max_steps=max_steps)
        ran = time.perf_counter() - began - stored.seconds
        return cls(given, result, stored, max(ran, 0.0))

    @contextlib.contextmanager
    def timed(self, what: str, message: str) -> Iterator[None]:
        """Measure a part of a command, and show a sign of life meanwhile."""
        began = time.perf_counter()
        with busy(message):
            yield
        self.after[what] = time.perf_counter() - began

    def headline(self, request: Request) -> str:
        """Return what was fitted, in two lines."""
        model = self.given.model
        channels = getattr(model, "channels", None)
        facts = []
        if isinstance(channels, tuple):
            bins = sum(size for _, size in channels)
            facts = [counted(len(channels), "channel"), counted(bins, "bin")]
        sizes = sum(np.size(value) for value in model.state.values())
        poi = f"parameter of interest {model.poi}" if model.poi else "no POI"
        what = FORMATS[self.given.source.format]
        return headline(request.title, what, *facts, counted(sizes, "parameter"), poi)

    def finish(
        self, request: Request, record: Any, draw: Callable[[], Any] | None
    ) -> None:
        """Write the files that are asked for, and show how long all of it took.

        Args:
            request: What the user asked for.
            record: The result of the command.
            draw: Makes the plot; None if there is none to be made. Instead of a figure
                it may return a text that says why there is none.
        """
        notes = files.save_result(record, request.out)
        if request.plot is not None and draw is not None:
            with self.timed("plot", "Drawing"):
                figure = draw()
                failed = isinstance(figure, str)
                notes += [figure] if failed else files.save_figure(figure, request.plot)
        show("\n".join(["", self._times(), *notes]))
        self.stored.keep()

    def _times(self) -> str:
        """Return how long the parts took."""
        stored = self.stored
        program = "program from the cache" if stored.loaded else "compiling"
        reading, compiling = seconds(self.given.seconds), seconds(stored.seconds)
        if not self.after:
            ran = seconds(self.ran)
            return f"Reading {reading}, {program} {compiling}, running {ran}."
        fitting = f"fit {seconds(stored.seconds + self.ran)} ({program} {compiling})"
        parts = [f"Reading {reading}", fitting]
        parts += [f"{what} {seconds(value)}" for what, value in self.after.items()]
        return f"{', '.join(parts)}."
