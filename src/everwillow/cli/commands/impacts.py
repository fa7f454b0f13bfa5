"""``everwillow impacts``."""

import time
from typing import Any

import numpy as np

from everwillow.cli import files
from everwillow.cli.commands.fit import headline, minimum, times
from everwillow.cli.report.numbers import signed, with_error
from everwillow.cli.report.terminal import busy, show, table
from everwillow.cli.request import Request, load


def run(request: Request, folder: Any, *, refit: bool, count: int) -> None:
    """Rank the nuisance parameters, and print them."""
    request.check()
    with busy("Reading"):
        given = load(request)
        poi = given.poi
    from everwillow.impacts.best_fit import held_is_known  # noqa: PLC0415
    from everwillow.impacts.ranking import rank  # noqa: PLC0415

    with busy("Fitting"):
        best, stored, took = minimum(given, folder)
    best.check()
    what = "Fitting again for each parameter" if refit else "Ranking"
    with busy(what), held_is_known():
        began = time.perf_counter()
        result = rank(given.model, best, pois=poi, refit=("postfit",) if refit else ())
        spent = time.perf_counter() - began
    shown = result.order[0][:count]
    columns = {"pull": result.pulls, "constraint": result.constraints}
    rows = [
        (
            result.names[i],
            signed(float(columns["pull"][i])),
            signed(float(columns["constraint"][i])).lstrip("+"),
            *_shifts(result, i),
            _signed_to(float(result.prefit[0][i]), result),
        )
        for i in shown
    ]
    heads = ("name", "pull", "constraint", "impact up", "impact down", "pre-fit")
    value, error = with_error(float(result.poi_values[0]), float(result.poi_errors[0]))
    title = f"Impacts on {poi} = {value}" + (f" +- {error}" if error else "")
    more = len(result.names) - len(shown)
    how = "by two fits for each parameter" if refit else "from the covariance"
    text = f"Shift of {poi} when a parameter moves by its post-fit error, {how}."
    text += "\nThe pre-fit column moves it up by the width of its constraint."
    if best.at_bound[best.labels.index(result.pois[0])]:
        text += (
            f"\n{poi} is held at its bound, from where a small shift does not move it."
        )
        text += "" if refit else " Where it would go shows --refit."
    if more > 0:
        text += f"\n{more} smaller ones are not shown; --count shows more."
    # What is known is shown before anything else can fail.
    show(headline(request, given), table(heads, rows, title=title), text)
    notes = [times(given, stored, took, impacts=spent)]
    notes += files.save_result(result, request.out)
    if request.plot is not None:
        from everwillow import plotting  # noqa: PLC0415

        figure = plotting.ranking(result, count=count, title=request.title)
        notes += files.save_figure(figure, request.plot)
    show("\n".join(["", *notes]))
    stored.keep()


def _shifts(result: Any, i: int) -> tuple[str, str]:
    """Return the impacts of a move up and one down."""
    if result.postfit_refits is not None:
        up, down = result.postfit_refits.up[0][i], result.postfit_refits.down[0][i]
    else:
        up, down = result.postfit[0][i], -result.postfit[0][i]
    return _signed_to(float(up), result), _signed_to(float(down), result)


def _signed_to(shift: float, result: Any) -> str:
    """Return a shift with as many decimals as three digits of the POI's error have."""
    if not np.isfinite(shift):
        return ""
    error = float(result.poi_errors[0])
    decimals = max(0, 2 - int(np.floor(np.log10(error)))) if error > 0 else 4
    return signed(shift, min(decimals, 10))
