"""``everwillow template fit``."""

import pathlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli.files import check_target
from everwillow.cli.report.inference import l_curve_table
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.template_results import overview, propagated
from everwillow.cli.report.terminal import GAP, busy, show
from everwillow.cli.request import settings_of
from everwillow.engine.program_store import active, compiling
from everwillow.workflows import templates
from everwillow.workflows.documents import load_document
from everwillow.workflows.templates.fit_options import COMMA
from everwillow.workflows.templates.regularisation import NoCornerError


# The largest number of parts that a hint names one by one.
_NAMED = 3


def run(
    *,
    spec: str,
    out: str | None,
    everything: bool,
    options: dict[str, Any],
) -> None:
    """Fit, print the result, and write it.

    Args:
        spec: The file with the template fit.
        out: The file for the results; None for none.
        everything: Whether to show all rows.
        options: The fields of the options of a template fit, as texts.
    """
    if out is not None:
        given = (spec, options["from_result"])
        check_target("--out", out, [one for one in given if one is not None])
    arguments = arguments_of(options)
    with busy("Reading"):
        began = time.perf_counter()
        loaded = load_document(spec, ("template fit",))
        reading = time.perf_counter() - began
    with busy("Fitting"):
        began = time.perf_counter()
        try:
            with compiling(active()) as compiled:
                results = templates.run(loaded, **arguments)
        except NoCornerError as error:
            # The curve helps to choose a strength.
            show(l_curve_table(error.l_curve))
            raise
        took = time.perf_counter() - began
    notes = [
        f"Reading {seconds(reading)}, fitting and propagating {seconds(took)}"
        f"{' (programs from the cache)' if compiled.loaded else ''}."
    ]
    title = pathlib.Path(spec).name
    parts = overview(results, title, everything=everything)
    tables, left = propagated(results, everything=everything)
    # Before the file: writing it may fail.
    show(*(text for _, text in parts), *tables)
    if out is not None:
        templates.write_results(results, out)
        notes.append(
            f"Results are in {out}: `everwillow template print` and `template plot` "
            "show them."
        )
    show("\n".join(["", *notes, *_hint(left, out)]))
    if not results.fit.success:
        raise typer.Exit(NOT_CONVERGED)


def _hint(left: Sequence[str], out: str | None) -> list[str]:
    """Return the command that shows the parts that are too long."""
    if not left:
        return []
    groups = list(dict.fromkeys(name.partition("/")[0] for name in left))
    words = ["everwillow", "template", "print", "FILE" if out is None else out]
    for name in left if len(left) <= _NAMED else groups:
        words += ["--only", name]
    keep = "keep results with --out FILE, and " if out is None else ""
    many = f"{' and '.join(groups)} with many bins"
    # The gap at the beginning prevents line breaks in the command.
    return [f"Not shown: {many}; {keep}see them with", f"{GAP}{shlex.join(words)}"]


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `everwillow.workflows.templates.run`.

    Args:
        options: The fields of its options, as texts; None for options not given.

    Raises:
        ArgumentValueError: If options contradict each other.
    """
    given = {name: value for name, value in options.items() if value is not None}
    toys, data = given.get("ntoys"), given.get("data")
    if toys is not None and data not in (None, "toys"):
        raise ArgumentValueError(
            f"--toys {toys}: pseudo-experiments are --data toys, not {data}."
        )
    if not given.get("refit", True) and "from_result" not in given:
        raise ArgumentValueError(
            "--no-refit needs --from-result FILE: nothing is fitted."
        )
    if toys is not None:
        given["data"] = "toys"
    for name, value in given.items():
        if name in _READERS:
            given[name] = _READERS[name](value)
        elif isinstance(value, list):
            given[name] = tuple(value)
    return given


def starts_of(texts: Sequence[str]) -> dict[str, float | None]:
    """Read start values, ``NAME=VALUE``.

    Raises:
        ArgumentValueError: If one has no value.
    """
    starts = settings_of(tuple(texts), "--start")
    for name, value in starts.items():
        if value is None:
            raise ArgumentValueError(
                f"--start {name}: expected NAME=VALUE with a finite number."
            )
    return starts


def strength_of(texts: Sequence[str]) -> Any:
    """Read strengths of a regularisation: numbers, or ``corner``.

    Raises:
        ArgumentValueError: If a text is neither.

    Example:
        >>> strength_of(["1.5"]), strength_of(["corner"])
        ((1.5,), 'corner')
    """
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
        ArgumentValueError: If the text has another form.

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
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, _, names = text.partition("=")
        patterns = [one.strip() for one in COMMA.split(names) if one.strip()]
        if not name.strip() or not patterns:
            raise ArgumentValueError(
                f"--group {text}: expected GROUP=PATTERN, several with commas."
            )
        groups.setdefault(name.strip(), []).extend(patterns)
    return groups


def minos_of(texts: Sequence[str]) -> bool | tuple[str, ...]:
    """Read names or patterns, several with commas; True without any.

    Example:
        >>> minos_of(["a,b[0,1]", "c*"]), minos_of([""])
        (('a', 'b[0,1]', 'c*'), True)
    """
    names = [one.strip() for text in texts for one in COMMA.split(text)]
    return tuple(filter(None, names)) or True


# Functions that read the texts of options.
_READERS: dict[str, Callable[[Any], Any]] = {
    "fixed": lambda texts: settings_of(tuple(texts), "--fix"),
    "groups": groups_of,
    "l_curve": strengths_of,
    "minos": minos_of,
    "starts": starts_of,
    "statistics": lambda text: None if text == "none" else text,
    "strength": strength_of,
}
