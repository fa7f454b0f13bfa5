"""Tables of the bins of histograms, and of their variations."""

import itertools
from collections.abc import Sequence

import numpy as np

from everwillow._rounding import plain, signed, with_error
from everwillow.cli.report.fits import SHOWN, decimals_of, first_rows
from everwillow.cli.report.terminal import table
from everwillow.likelihood.histograms import Axis
from everwillow.workflows.templates.results import HistogramResult


# The number of columns of parameters in one table.
PARAMETERS_PER_TABLE = 4


def bin_table(histogram: HistogramResult, title: str, *, everything: bool) -> str:
    """Return a table of the bins of a histogram."""
    names = bin_names(histogram.axes)
    columns = []
    for side in (histogram.prefit, histogram.postfit):
        texts = [""] * len(names)
        if side is not None:
            pairs = zip(np.ravel(side.values), np.ravel(side.errors), strict=True)
            texts = [_value_text(float(v), float(e)) for v, e in pairs]
        columns.append(texts)
    data = [""] * len(names)
    if histogram.data is not None:
        data = [plain(float(v), 6) for v in np.ravel(histogram.data)]
    rows = list(zip(names, *columns, data, strict=True))
    heads = (_head(histogram), "pre-fit", "post-fit", "data")
    return first_rows(heads, rows, title, everything=everything)


def _head(histogram: HistogramResult) -> str:
    return " ".join(axis.name for axis in histogram.axes) or "bin"


def _value_text(value: float, error: float) -> str:
    shown, rounded = with_error(value, error)
    return f"{shown} +- {rounded}" if rounded else shown


def bin_names(axes: Sequence[Axis]) -> list[str]:
    """Return a name for each bin, in C order."""
    each = []
    for axis in axes:
        if axis.edges is not None:
            pairs = zip(axis.edges[:-1], axis.edges[1:], strict=True)
            each.append([f"[{low:.6g}, {high:.6g})" for low, high in pairs])
        else:
            each.append([str(label) for label in axis.labels or ()])
    return [" ".join(names) for names in itertools.product(*each)]


def variation_tables(
    histogram: HistogramResult, title: str, *, everything: bool
) -> list[str]:
    """Return tables of the changes by moved parameters, before and after the fit.

    Args:
        histogram: The histogram.
        title: Its title.
        everything: Whether to show all bins and parameters, not only the first bins and
            the parameters with the largest changes.
    """
    names = bin_names(histogram.axes)
    texts = []
    for when, (side, moved) in (
        ("pre-fit", (histogram.prefit, histogram.prefit_variations)),
        ("post-fit", (histogram.postfit, histogram.postfit_variations)),
    ):
        if side is None or moved is None:
            continue
        errors = np.ravel(side.errors)
        changes = np.stack(
            [
                (part - side.values).reshape(len(moved.names), -1)
                for part in (moved.up, moved.down)
            ]
        )
        order = _largest(changes, errors)
        shown = order if everything else order[:PARAMETERS_PER_TABLE]
        rows = slice(None if everything else SHOWN)
        head = f"{title}, {when}: changes for moves by +1/-1 errors"
        left = [
            f"{some} of {every} {kind}"
            for some, every, kind in (
                (len(shown), len(order), "parameters"),
                (len(names[rows]), len(names), "bins"),
            )
            if some < every
        ]
        head += f"; {', '.join(left)} (or --all)" if left else ""
        for start in range(0, len(shown), PARAMETERS_PER_TABLE):
            page = shown[start : start + PARAMETERS_PER_TABLE]
            cells = [
                (name, *(_cell(changes[:, k, b], errors[b]) for k in page))
                for b, name in list(enumerate(names))[rows]
            ]
            heads = (_head(histogram), *(moved.names[k] for k in page))
            texts.append(table(heads, cells, title=head))
    return texts


def _largest(changes: np.ndarray, errors: np.ndarray) -> list[int]:
    """Return the parameters, sorted by the largest change over the error of a bin."""
    unit = np.where(errors > 0, errors, np.nan)
    sizes = np.nan_to_num(np.abs(changes) / unit).max(axis=(0, 2), initial=0.0)
    return np.argsort(-sizes, kind="stable").tolist()


def _cell(change: np.ndarray, error: float) -> str:
    decimals = decimals_of(float(error))
    return "/".join(
        signed(float(one), decimals) if np.isfinite(one) else "nan" for one in change
    )
