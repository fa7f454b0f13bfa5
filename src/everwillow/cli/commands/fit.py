"""``everwillow fit``."""

import time
from typing import Any

import numpy as np
import typer

from everwillow.cli import files
from everwillow.cli.report import outcome
from everwillow.cli.report.numbers import plain, seconds, signed, with_error
from everwillow.cli.report.terminal import busy, show, table
from everwillow.cli.request import Input, Request, load
from everwillow.cli.session.programs import Stored, fit
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths
from everwillow.fitting import FitResult


# So many constrained parameters are shown, unless all are asked for.
SHOWN = 20


def run(request: Request, folder: Any, *, everything: bool, max_steps: int) -> None:
    """Fit, and print the result."""
    request.check()
    with busy("Reading"):
        given = load(request)
    with busy("Fitting"):
        result, stored, took = minimum(given, folder, max_steps)
    parts = [headline(request, given), status(result)]
    if bool(result.success):
        parts += parameter_tables(result, given.model.poi, everything=everything)
    else:
        parts += [_last_values(result, given.model.poi)]
    # What is known is shown before anything else can fail.
    show(*parts)
    notes = [times(given, stored, took), *files.save_result(result, request.out)]
    if request.plot is not None and bool(result.success):
        from everwillow import plotting  # noqa: PLC0415

        notes += files.save_figure(plotting.pulls(result), request.plot)
    show("\n".join(["", *notes]))
    stored.keep()
    if not bool(result.success):
        raise typer.Exit(outcome.NOT_CONVERGED)


def minimum(
    given: Input, folder: Any, max_steps: int = 256
) -> tuple[FitResult, Stored, float]:
    """Fit, and return the result, what became of the program, and how long it ran."""
    began = time.perf_counter()
    result, stored = fit(given.model, given.fixed, folder, max_steps=max_steps)
    return result, stored, time.perf_counter() - began - stored.seconds


def headline(request: Request, given: Input) -> str:
    """Return what was fitted, in two lines."""
    model = given.model
    format_name = {"pyhf": "pyhf workspace", "hs3": "HS3 document"}
    channels = getattr(model, "channels", None)
    shape = ""
    if isinstance(channels, tuple):
        bins = sum(size for _, size in channels)
        shape = f"{_count(len(channels), 'channel')}, {_count(bins, 'bin')}, "
    sizes = sum(np.size(value) for value in model.state.values())
    poi = f"parameter of interest {model.poi}" if model.poi else "no POI"
    return (
        f"{request.title}: {format_name[given.source.format]}\n"
        f"{shape}{_count(sizes, 'parameter')}, {poi}"
    )


def status(result: FitResult) -> str:
    """Return how the fit ended."""
    good = bool(result.success)
    nll2 = 2 * float(result.nll)
    steps = _count(int(result.num_steps), "evaluation")
    numbers = f"-2 ln L = {nll2:.6f} (all constants kept)"
    if good:
        edm = plain(float(result.edm), 2)
        text = f"Minimum found after {steps}." if result.free else result.message()
        text = f"{text} {result.remark}".rstrip()
        return f"{text}\n{numbers}, EDM {edm}"
    lines = [f"FAILED: {result.message()}", f"{numbers} where it stopped, {steps}."]
    lines.append(
        "Nothing below is a result. Look at the start values and at the bounds with "
        "`everwillow inspect`; fix with --fix NAME what the data do not determine; "
        "allow more evaluations with --max-steps."
    )
    return "\n".join(lines)


def times(given: Input, stored: Stored, ran: float, **after: float) -> str:
    """Return how long the parts took.

    Args:
        given: What was read.
        stored: The program of the fit.
        ran: How long it ran.
        **after: What was done with the fit, and how long that took with all of its
            compiling.
    """
    program = "program from the cache" if stored.loaded else "compiling"
    reading, compiling = seconds(given.seconds), seconds(stored.seconds)
    ran = max(ran, 0.0)
    if not after:
        return f"Reading {reading}, {program} {compiling}, running {seconds(ran)}."
    fitting = f"fit {seconds(stored.seconds + ran)} ({program} {compiling})"
    parts = [f"Reading {reading}", fitting]
    parts += [f"{what} {seconds(value)}" for what, value in after.items()]
    return f"{', '.join(parts)}."


def parameter_tables(
    result: FitResult, poi: str | None, *, everything: bool = False
) -> list[str]:
    """Return tables of the parameter of interest, of free and constrained ones."""
    values, errors, sides, free = _columns(result)
    centers, widths = centers_and_widths(result.constraints, result.layout)
    labels = np.asarray(result.layout.labels, object)
    constrained = np.isfinite(widths)
    own = np.array([poi is not None and _is_of(label, poi) for label in labels], bool)
    rows = {
        i: _row(str(labels[i]), values[i], errors[i], sides[i], 3 if own[i] else 2)
        for i in _where(free)
    }
    tables: list[str] = []
    groups = (
        ("Parameter of interest", own & free),
        ("Free parameters", free & ~constrained & ~own),
    )
    for title, chosen in groups:
        if chosen.any():
            shown = [rows[i] for i in _where(chosen)]
            heads = ("name", "value", "error", "")
            tables.append(table(heads, shown, title=title))
    chosen = _where(free & constrained & ~own)
    if chosen.size:
        pulls = (values - centers) / widths
        tables.append(
            _constrained(chosen, rows, pulls, errors / widths, everything=everything)
        )
    held = int(np.sum(~free))
    if held:
        names = ", ".join(map(str, labels[~free][:6])) + (", ..." if held > 6 else "")
        tables.append(
            f"Fixed: {names} ({held} in all)" if held > 6 else f"Fixed: {names}"
        )
    return tables


def _constrained(
    chosen: Any, rows: Any, pulls: Any, ratios: Any, *, everything: bool
) -> str:
    order = chosen
    title = "Constrained parameters"
    if chosen.size > SHOWN and not everything:
        order = chosen[np.argsort(-np.abs(pulls[chosen]), kind="stable")][:SHOWN]
        title += f": the {SHOWN} of {chosen.size} with the largest pulls (or --all)"
    shown = [
        (*rows[i][:3], signed(pulls[i]), signed(ratios[i]).lstrip("+"), rows[i][3])
        for i in order
    ]
    heads = ("name", "value", "error", "pull", "constraint", "")
    return table(heads, shown, title=title)


def _row(
    name: str, value: float, error: float, side: float, digits: int
) -> tuple[str, ...]:
    if np.isfinite(side):
        shown, rounded = with_error(value, side, digits)
        return name, shown, rounded, "at bound, one side"
    return name, *with_error(value, error, digits), ""


def _columns(result: FitResult) -> tuple[Any, Any, Any, Any]:
    """Return values, errors, errors at bounds, and which are free, by element."""
    size = result.layout.size
    values = np.asarray(ravel_state(result.params)[1], float)
    errors, sides = np.full(size, np.nan), np.full(size, np.nan)
    index = np.asarray(result.free, int)
    free = np.zeros(size, bool)
    free[index] = True
    covariance, distances = result.covariance, result.bound_errors
    if covariance is not None and distances is not None:
        variance = np.diagonal(covariance)
        errors[index] = np.sqrt(np.where(variance > 0, variance, np.nan))
        sides[index] = distances
    return values, errors, sides, free


def _last_values(result: FitResult, poi: str | None) -> str:
    """Return where a failed fit ended, without anything that looks like a result."""
    values, _, _, free = _columns(result)
    labels = result.layout.labels
    order = sorted(_where(free), key=lambda i: (not _is_of(labels[i], poi or ""), i))
    rows = [(labels[i], plain(values[i])) for i in order[:SHOWN]]
    more = f" (the first {SHOWN})" if len(order) > SHOWN else ""
    return table(("name", "last value"), rows, title=f"Where the fit stopped{more}")


def _is_of(label: str, name: str) -> bool:
    return label == name or label.startswith(f"{name}[")


def _where(flags: Any) -> Any:
    return np.nonzero(flags)[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
