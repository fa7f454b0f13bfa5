"""``everwillow template fit``."""

import pathlib
import shlex
import time
from collections.abc import Sequence
from typing import Any

import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli.files import expecting_hdf5
from everwillow.cli.report import outcome
from everwillow.cli.report.inference import l_curve_table
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.outcome import check_target
from everwillow.cli.report.template_results import overview, propagated
from everwillow.cli.report.terminal import GAP, busy, show
from everwillow.cli.request import settings_of
from everwillow.cli.session.programs import Stored, fit
from everwillow.fitting import FitResult
from everwillow.models.templates.reading import load
from everwillow.workflows import templates
from everwillow.workflows.templates.options import COMMA
from everwillow.workflows.templates.regularisation import NoCornerError


# So many parts are named one by one in a hint.
_NAMED = 3


def run(*, folder: Any, everything: bool, options: dict[str, Any]) -> None:
    """Fit, print the result, and write it."""
    out = options.pop("out")
    if out is not None:
        given = (options["spec"], options["from_result"])
        check_target(out, [one for one in given if one is not None])
    arguments = arguments_of(**options)
    with busy("Reading"):
        began = time.perf_counter()
        with expecting_hdf5(options["spec"]):
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
        try:
            results = templates.run(spec, minimise=minimise, **arguments)
        except NoCornerError as error:
            # Whoever has to choose a strength wants to see the curve.
            show(l_curve_table(error.l_curve))
            raise
        took = time.perf_counter() - began
    notes = [
        f"Reading {seconds(reading)}, fitting and propagating {seconds(took)}"
        f"{' (program from the cache)' if kept and kept[0].loaded else ''}."
    ]
    title = pathlib.Path(options["spec"]).name
    parts = overview(results, title, everything=everything)
    tables, left = propagated(results, everything=everything)
    # What is known is shown before anything else can fail.
    show(*(text for _, text in parts), *tables)
    if out is not None:
        templates.write_results(results, out)
        notes.append(
            f"Results are in {out}: `everwillow template print` and `template plot` "
            "show them."
        )
    show("\n".join(["", *notes, *_hint(left, out)]))
    for stored in kept:
        stored.keep()
    if not results.fit.success:
        raise typer.Exit(outcome.NOT_CONVERGED)


def _hint(left: Sequence[str], out: str | None) -> list[str]:
    """Return how to see what is too long to be shown."""
    if not left:
        return []
    groups = list(dict.fromkeys(name.partition("/")[0] for name in left))
    words = ["everwillow", "template", "print", "FILE" if out is None else out]
    for name in left if len(left) <= _NAMED else groups:
        words += ["--only", name]
    keep = "keep results with --out FILE, and " if out is None else ""
    many = f"{' and '.join(groups)} with many bins"
    # The gap in front keeps the command in one line.
    return [f"Not shown: {many}; {keep}see them with", f"{GAP}{shlex.join(words)}"]


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
    regularise: Sequence[str] | None,
    strength: Sequence[str] | None,
    l_curve: str | None,
    group: Sequence[str] | None,
    points: int,
    contour_level: Sequence[float] | None,
    **same: Any,
) -> dict[str, Any]:
    """Return the arguments of `everwillow.workflows.templates.run`.

    Raises:
        ArgumentValueError: If options do not fit together.
    """
    if toys is not None and data not in (None, "toys"):
        raise ArgumentValueError(
            f"--toys {toys}: pseudo-experiments are --data toys, not {data}."
        )
    if not same.get("refit", True) and same.get("from_result") is None:
        raise ArgumentValueError(
            "--no-refit needs --from-result FILE: nothing is fitted."
        )
    starts = settings_of(tuple(start or ()), "--start")
    for name, value in starts.items():
        if value is None:
            raise ArgumentValueError(
                f"--start {name}: expected NAME=VALUE with a finite number."
            )
    found = {
        "spec": spec,
        "data": "toys" if toys is not None else data,
        "ntoys": 100 if toys is None else toys,
        "starts": starts,
        "freeze": settings_of(tuple(freeze or ()), "--freeze"),
        "blind": tuple(blind) if blind else False,
        "unblind": tuple(unblind or ()),
        "statistics": None if statistics == "none" else statistics,
        "regularise": tuple(regularise or ()),
        "strength": strength_of(strength),
        "l_curve": None if l_curve is None else strengths_of(l_curve),
        "groups": groups_of(group or ()),
        "scan_points": points,
    }
    if contour_level:
        found["contour_levels"] = tuple(contour_level)
    for option, name in _LISTS.items():
        found[name] = tuple(same.pop(option) or ())
    return found | same


# Options that may be repeated, and what they are called in Python.
_LISTS = {
    "mapping": "mappings",
    "minos": "minos",
    "scan": "scans",
    "contour": "contours",
    "limit": "limits",
    "projection": "projections",
    "variation": "variations",
}


def strength_of(texts: Sequence[str] | None) -> Any:
    """Read strengths of a regularisation: numbers, or ``corner``.

    Raises:
        ArgumentValueError: If a text is neither.

    Example:
        >>> strength_of(["1.5"]), strength_of(["corner"])
        ((1.5,), 'corner')
    """
    if not texts:
        return None
    if list(texts) == ["corner"]:
        return "corner"
    try:
        return tuple(map(float, texts))
    except ValueError as error:
        raise ArgumentValueError(
            f"--strength {' '.join(texts)}: expected numbers, or corner alone."
        ) from error


def strengths_of(text: str) -> tuple[float, ...]:
    """Read the strengths of an L-curve, ``LOW:HIGH:N``.

    Raises:
        ArgumentValueError: If it is something else.

    Example:
        >>> strengths_of("-1:1:3")
        (-1.0, 0.0, 1.0)
    """
    low, high, count = ([*text.split(":"), "", ""])[:3]
    try:
        ends, number = (float(low), float(high)), int(count)
    except ValueError:
        ends, number = (0.0, 0.0), 0
    if number < 2 or not ends[0] < ends[1] or text.count(":") != 2:
        raise ArgumentValueError(
            f"--l-curve {text}: expected LOW:HIGH:N, such as -3:3:13."
        )
    step = (ends[1] - ends[0]) / (number - 1)
    return tuple(ends[0] + i * step for i in range(number))


def groups_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read groups of parameters, ``GROUP=PATTERN,...``.

    Raises:
        ArgumentValueError: If there is no name, or no pattern.

    Example:
        >>> groups_of(["shape=slope,norm_*"])
        {'shape': ['slope', 'norm_*']}
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, names = text.partition("=")
        patterns = [one.strip() for one in COMMA.split(names) if one.strip()]
        if not name.strip() or not patterns:
            raise ArgumentValueError(
                f"--group {text}: expected GROUP=PATTERN, several with commas."
            )
        found.setdefault(name.strip(), []).extend(patterns)
    return found
