"""``everwillow template fit``."""

import pathlib
import time
from collections.abc import Sequence
from typing import Any

import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli import _outcome
from everwillow.cli._numbers import seconds
from everwillow.cli._outcome import check_target
from everwillow.cli._programs import Stored, fit
from everwillow.cli._request import settings_of
from everwillow.cli._template_tables import overview
from everwillow.cli._terminal import busy, show
from everwillow.fitting import FitResult
from everwillow.models.templates.storage import load
from everwillow.workflows import templates


def run(*, folder: Any, everything: bool, options: dict[str, Any]) -> None:
    """Fit, print the result, and write it."""
    out = options.pop("out")
    if out is not None:
        check_target(out)
    arguments = arguments_of(**options)
    with busy("Reading"):
        began = time.perf_counter()
        spec = load(arguments.pop("spec"))
        reading = time.perf_counter() - began
    kept: list[Stored] = []

    def minimise(model: Any, *, max_steps: int, throw: bool) -> FitResult:
        del throw
        result, stored = fit(model, {}, folder, max_steps=max_steps)
        kept.append(stored)
        return result

    with busy("Fitting"):
        began = time.perf_counter()
        results = templates.run(spec, minimise=minimise, **arguments)
        took = time.perf_counter() - began
    notes = [
        f"Reading {seconds(reading)}, fitting and propagating {seconds(took)}"
        f"{' (program from the cache)' if kept and kept[0].loaded else ''}."
    ]
    if out is not None:
        templates.write_results(results, out)
        notes.append(
            f"Results are in {out}: `everwillow template print` and `template plot` "
            "show them."
        )
    title = pathlib.Path(options["spec"]).name
    show(*overview(results, title, everything=everything), "\n".join(notes))
    for stored in kept:
        stored.keep()
    if not results.fit.success:
        raise typer.Exit(_outcome.NOT_CONVERGED)


def arguments_of(
    *,
    spec: str,
    data: str | None,
    toys: int | None,
    start: Sequence[str] | None,
    freeze: Sequence[str] | None,
    blind: Sequence[str] | None,
    unblind: Sequence[str] | None,
    statistics: str,
    mapping: Sequence[str] | None,
    scan: Sequence[str] | None,
    points: int,
    projection: Sequence[str] | None,
    **same: Any,
) -> dict[str, Any]:
    """Return the arguments of `everwillow.workflows.templates.run`.

    Raises:
        ArgumentValueError: If options do not fit together.
    """
    if toys is not None and data not in (None, "toys"):
        msg = f"--toys {toys}: pseudo-experiments are --data toys, not {data}."
        raise ArgumentValueError(msg)
    starts = settings_of(tuple(start or ()), "--start")
    for name, value in starts.items():
        if value is None:
            msg = f"--start {name}: expected NAME=VALUE with a finite number."
            raise ArgumentValueError(msg)
    return {
        "spec": spec,
        "data": "toys" if toys is not None else data,
        "ntoys": 100 if toys is None else toys,
        "starts": starts,
        "freeze": settings_of(tuple(freeze or ()), "--freeze"),
        "blind": tuple(blind) if blind else False,
        "unblind": tuple(unblind or ()),
        "statistics": None if statistics == "none" else statistics,
        "mappings": tuple(mapping or ()),
        "scans": tuple(scan or ()),
        "scan_points": points,
        "projections": tuple(projection or ()),
        **same,
    }
