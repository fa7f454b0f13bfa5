"""Fits of toys of workspaces as a table."""

from typing import Any

import numpy as np

from everwillow._rounding import signed, with_error
from everwillow.cli.report.answers import rows
from everwillow.cli.report.fits import first_rows
from everwillow.toys.fits import ToyFits
from everwillow.workflows.report import Toys


NORMAL = "0.683"
"""The coverage of one standard deviation of a Gaussian."""


def toy_summary(toys: Toys, poi: Any, where: str, *, everything: bool) -> str:
    """Return a table of pulls and coverage, the parameter of interest first.

    Args:
        toys: The fits.
        poi: The parameter of interest, or None.
        where: Where the toys were drawn.
        everything: Whether to show all rows.
    """
    pulls, coverage = toys.summary(), toys.coverage()
    order = sorted(range(len(toys.names)), key=lambda i: not _is(poi, toys.names[i]))
    good = toys.success
    lines = []
    for i in order:
        name = toys.names[i]
        mean, width = pulls[name]
        part, error = coverage[name]
        middle, spread = _mean_and_width(toys, i)
        without = int(np.sum(~np.isfinite(toys.pulls[good, i])))
        lines.append(
            (
                name,
                with_error(float(toys.true_values[i]), spread)[0],
                *with_error(middle, spread),
                signed(mean),
                "" if np.isnan(width) else f"{width:.2f}",
                "" if np.isnan(part) else f"{part:.3f} +- {error:.3f}",
                str(without) if without else "",
            )
        )
    heads = (
        "name",
        "true",
        "mean",
        "width",
        "mean pull",
        "width of pulls",
        "coverage",
        "no error",
    )
    title = f"{good.size} toys drawn {where} (seed {toys.seed})"
    text = first_rows(heads, lines, title, everything=everything)
    notes = [
        "Pull: (fitted - true) / error. Coverage: how often value +- error contains "
        f"the true value; {NORMAL} for a Gaussian."
    ]
    if any(line[-1] for line in lines):
        notes.append(
            "No error: toys that ended at a bound; pulls and coverage are without them."
        )
    return text + "\n\n" + "\n".join(notes)


def toy_answer(toys: Toys, fits: ToyFits) -> dict[str, Any]:
    """Return fits of toys as objects, for JSON."""
    pulls, coverage = toys.summary(), toys.coverage()
    spreads = [_mean_and_width(toys, i) for i in range(len(toys.names))]
    columns = {
        "true_value": toys.true_values,
        "mean": [middle for middle, _ in spreads],
        "width": [width for _, width in spreads],
        "mean_pull": [pulls[name][0] for name in toys.names],
        "width_of_pulls": [pulls[name][1] for name in toys.names],
        "coverage": [coverage[name][0] for name in toys.names],
        "coverage_error": [coverage[name][1] for name in toys.names],
    }
    return {
        "toys": int(toys.success.size),
        "seed": toys.seed,
        "failures": fits.failures,
        "failed": fits.failed,
        "parameters": rows("name", toys.names, columns),
    }


def _mean_and_width(toys: Toys, i: int) -> tuple[float, float]:
    """Return mean and standard deviation of a parameter in toys with a minimum."""
    values = toys.values[toys.success, i]
    if not values.size:
        return np.nan, np.nan
    return float(np.mean(values)), float(np.std(values))


def _is(poi: Any, name: str) -> bool:
    return poi is not None and (name == poi or name.startswith(f"{poi}["))
