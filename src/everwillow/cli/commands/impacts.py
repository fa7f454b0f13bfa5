"""``everwillow impacts``."""

import pathlib
from typing import Any

from everwillow.cli.report.fits import shift_text
from everwillow.cli.report.numbers import signed, with_error
from everwillow.cli.report.terminal import busy, show, table
from everwillow.cli.request import Request, load
from everwillow.cli.workspace_fit import WorkspaceFit


def run(
    request: Request, folder: pathlib.Path | None, *, refit: bool, count: int
) -> None:
    """Rank the nuisance parameters, and print them."""
    request.check()
    with busy("Reading"):
        given = load(request)
        poi = given.poi
    from everwillow.impacts.best_fit import held_is_known  # noqa: PLC0415
    from everwillow.impacts.ranking import rank  # noqa: PLC0415

    with busy("Fitting"):
        best = WorkspaceFit.of(given, folder)
    minimum = best.result.check()
    what = "Fitting again for each parameter" if refit else "Ranking"
    kinds = ("postfit",) if refit else ()
    with best.timed("impacts", what), held_is_known():
        result = rank(given.model, minimum, pois=poi, refit=kinds)
    shown = result.order[0][:count]
    rows = [
        (
            result.names[i],
            signed(float(result.pulls[i])),
            signed(float(result.constraints[i])).lstrip("+"),
            *_shifts(result, i),
            shift_text(result.prefit[0][i], result.poi_errors[0]),
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
    if minimum.at_bound[minimum.labels.index(result.pois[0])]:
        text += (
            f"\n{poi} is held at its bound, from where a small shift does not move it."
        )
        text += "" if refit else " Where it would go shows --refit."
    if more > 0:
        text += f"\n{more} smaller ones are not shown; --count shows more."
    # What is known is shown before anything else can fail.
    show(best.headline(request), table(heads, rows, title=title), text)

    def draw() -> object:
        from everwillow import plotting  # noqa: PLC0415

        return plotting.ranking(result, count=count, title=request.title)

    best.finish(request, result, draw)


def _shifts(result: Any, i: int) -> tuple[str, str]:
    """Return the impacts of a move up and one down."""
    if result.postfit_refits is not None:
        up, down = result.postfit_refits.up[0][i], result.postfit_refits.down[0][i]
    else:
        up, down = result.postfit[0][i], -result.postfit[0][i]
    error = result.poi_errors[0]
    return shift_text(up, error), shift_text(down, error)
