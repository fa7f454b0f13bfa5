"""The fit that the commands for workspaces begin with, and how they end."""

import contextlib
import dataclasses
import pathlib
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._rounding import counted
from everwillow._store import save_figure
from everwillow.cli import files
from everwillow.cli.report.answers import as_json
from everwillow.cli.report.fits import headline
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.terminal import busy, show
from everwillow.cli.request import Request
from everwillow.cli.workspace import Input, load
from everwillow.engine.program_store import Compiling, active, compiling
from everwillow.fitting import FitResult, fit
from everwillow.workflows.documents import WORKSPACES


@dataclasses.dataclass
class WorkspaceFit:
    """The fit of a command, and the time that its parts took.

    Attributes:
        request: The options of the command.
        given: The model.
        result: The result of the fit.
        compiled: The time to load or to compile the program of the fit.
        ran: The time that the program ran, in seconds.
        after: The names of the parts after the fit, and their time with compilation.
        notes: Sentences for the user.
    """

    request: Request
    given: Input
    result: FitResult
    compiled: Compiling
    ran: float
    after: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def of(
        cls,
        request: Request,
        *,
        max_steps: int = 256,
        needs_poi: bool = True,
        kinds: Collection[str] = WORKSPACES,
    ) -> "WorkspaceFit":
        """Read a document, and fit its model.

        Args:
            request: The options of the command.
            max_steps: As in `everwillow.fit`.
            needs_poi: Whether the command needs a parameter of interest.
            kinds: The kinds of documents that it takes.

        Raises:
            ArgumentValueError: If an option is not valid, or a parameter of interest is
                missing.
        """
        request.check()
        with busy("Reading"):
            given = load(request, kinds)
            if needs_poi:
                given.poi()
        with busy("Fitting"):
            began = time.perf_counter()
            with compiling(active()) as compiled:
                result = fit(
                    given.model, fixed=given.fixed, max_steps=max_steps, throw=False
                )
            ran = time.perf_counter() - began - compiled.seconds
        return cls(request, given, result, compiled, max(ran, 0.0))

    @contextlib.contextmanager
    def timed(self, part: str, message: str) -> Iterator[None]:
        """Measure the time of a part of a command, and show progress on a terminal."""
        began = time.perf_counter()
        with busy(message):
            yield
        self.after[part] = time.perf_counter() - began

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the warnings of a part of a command for its end."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
        self.notes += [f"NOTE: {one.message}" for one in caught]

    def finish(
        self,
        record: Any,
        draw: Callable[[Any], Any] | None,
        *parts: str,
        answer: Mapping[str, Any],
        others: Sequence["WorkspaceFit"] = (),
    ) -> None:
        """Show the result, and write the files that the options name.

        Of JSON only the answer is on the standard output.

        Args:
            record: The result of the command.
            draw: Makes the plot with the package `everwillow.plotting`; None if there
                is no plot. It may return a text that says why there is none.
            *parts: The result as tables and text.
            answer: The result as objects, for JSON.
            others: The fits of other documents that the command compares with this one.
        """
        fits = (self, *others)
        is_json = self.request.form == "json"
        # Before the files: writing them may fail.
        if is_json:
            facts = {"file": self.request.title, **answer, "notes": self.notes}
            sys.stdout.write(f"{as_json(facts)}\n")
            sys.stdout.flush()
        else:
            headlines = "\n".join(one.headline() for one in fits)
            show(headlines, *parts, *(["\n".join(self.notes)] if self.notes else []))
        notes = files.save_result(record, self.request.out)
        if self.request.plot is not None and draw is not None:
            with self.timed("plot", "Drawing"):
                from everwillow import plotting  # noqa: PLC0415

                figure = draw(plotting)
                if isinstance(figure, str):
                    notes.append(figure)
                else:
                    save_figure(figure, pathlib.Path(self.request.plot))
                    notes.append(f"The plot is in {self.request.plot}.")
        if is_json:
            sys.stderr.writelines(f"{note}\n" for note in notes)
        else:
            times = [one._times() for one in (*others, self)]
            show("\n".join(["", *times, *notes]))

    def headline(self) -> str:
        """Return two lines on the document and the size of its model."""
        model = self.given.model
        channels = getattr(model, "channels", None)
        facts = []
        if isinstance(channels, tuple):
            bins = sum(size for _, size in channels)
            facts = [counted(len(channels), "channel"), counted(bins, "bin")]
        if regions := getattr(model, "regions", ()):
            events = sum(sum(sizes) for _, *sizes in regions)
            unbinned = counted(len(regions), "unbinned region")
            facts += [unbinned, counted(events, "event")]
            facts = facts if channels else facts[2:]
        sizes = sum(np.size(value) for value in model.state.values())
        facts.append(counted(sizes, "parameter"))
        facts.append(f"parameter of interest {model.poi}" if model.poi else "no POI")
        return headline(self.request.title, self.given.document.title, *facts)

    def _times(self) -> str:
        """Return a sentence on the time that each part took."""
        compiled = self.compiled
        program = "program from the cache" if compiled.loaded else "compiling"
        reading, took = seconds(self.given.seconds), seconds(compiled.seconds)
        if not self.after:
            ran = seconds(self.ran)
            return f"Reading {reading}, {program} {took}, running {ran}."
        fitting = f"fit {seconds(compiled.seconds + self.ran)} ({program} {took})"
        parts = [f"Reading {reading}", fitting]
        parts += [f"{part} {seconds(value)}" for part, value in self.after.items()]
        return f"{', '.join(parts)}."
