"""``everwillow impacts``."""

import numpy as np

from everwillow.cli.report.impacts import PoiImpacts, impact_answer, impact_table
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.impacts.best_fit import held_is_known
from everwillow.impacts.ranking import rank


def run(request: Request, *, refit: bool, count: int) -> None:
    """Rank the nuisance parameters, and print them."""
    best = WorkspaceFit.of(request)
    minimum, poi = best.result.check(), best.given.poi()
    message = "Fitting again for each parameter" if refit else "Ranking"
    # By default fits are made where a parameter is at a bound.
    kinds = ("postfit",) if refit else None
    with best.timed("impacts", message), held_is_known():
        result = rank(best.given.model, minimum, poi=poi, refit=kinds)
    exact = result.postfit_refits
    impacts = PoiImpacts(
        poi=poi,
        value=float(result.poi_values[0]),
        error=float(result.poi_errors[0]),
        names=result.names,
        pulls=np.asarray(result.pulls),
        constraints=np.asarray(result.constraints),
        traditional=np.asarray(result.postfit[0]),
        up=None if exact is None else np.asarray(exact.up[0]),
        down=None if exact is None else np.asarray(exact.down[0]),
        others={"pre-fit": np.asarray(result.prefit[0])},
    )
    note = "Pre-fit: shift when it moves up by the width of its constraint."
    best.finish(
        result,
        lambda plotting: plotting.ranking(result, count=count, title=request.title),
        impact_table(
            impacts,
            count=count,
            option="--count",
            note=note,
            remarks=result.remarks(),
        ),
        answer=impact_answer(impacts) | {"remarks": result.remarks()},
    )
