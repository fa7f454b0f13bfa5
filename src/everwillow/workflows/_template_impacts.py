"""Impacts on the parameters of interest of template fits, as records."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow.fitting import FitResult
from everwillow.impacts import (
    global_impacts,
    group_impacts,
    nonprofiled_impacts,
    rank,
    split_errors,
    statistical_impacts,
)
from everwillow.impacts.best_fit import held_is_known
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.template_profiles import NonprofiledShifts
from everwillow.workflows.template_results import DATA, SIMULATION, Impacts


TOTAL = "total"


def impacts_of(
    model: TemplateModel,
    result: FitResult,
    groups: Mapping[str, list[str]],
    *,
    refit: bool,
    max_steps: int,
) -> Impacts | None:
    """Return impacts on the parameters of interest; None if none is free.

    Args:
        model: The model.
        result: Its fit.
        groups: The free parameters of each group.
        refit: Whether traditional impacts are by fits, too.
        max_steps: Of these.
    """
    pois = _pois(model, result)
    if not pois:
        return None
    refits = ("postfit",) if refit else ()
    members = {
        name: inside
        for name, names in groups.items()
        if (inside := [n for n in names if n not in pois])
    }
    # Tables of the record say which parameters are held at their bounds.
    with held_is_known():
        ranking = rank(model, result, pois=pois, refit=refits, max_steps=max_steps)
        every = global_impacts(model, result, pois=pois, data_variance=None)
        names, traditional, auxiliary = _grouped(model, result, pois, members)
    exact = ranking.postfit_refits
    return Impacts(
        interest=pois,
        errors=np.asarray(ranking.poi_errors),
        names=ranking.names,
        traditional=np.asarray(ranking.postfit),
        global_names=every.names,
        global_impacts=np.asarray(every.auxiliary),
        groups=names,
        grouped_traditional=traditional,
        grouped_global=auxiliary,
        up=None if exact is None else np.asarray(exact.up),
        down=None if exact is None else np.asarray(exact.down),
    )


def _pois(model: TemplateModel, result: FitResult) -> tuple[str, ...]:
    return tuple(name for name in model.interest if name in result.labels)


def _grouped(
    model: TemplateModel,
    result: FitResult,
    pois: tuple[str, ...],
    members: Mapping[str, list[str]],
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return groups with their traditional and global impacts, statistics last."""
    names: list[str] = list(members)
    columns: list[tuple[Any, Any]] = []
    if members:
        found = group_impacts(result, pois=pois, groups=members)
        columns += zip(found.traditional.T, found.auxiliary.T, strict=True)
    if model.diagnostics.simulated:
        parts = statistical_impacts(model, result, pois=pois)
        names += [DATA, SIMULATION]
        columns += [
            (parts.data, parts.data_global),
            (parts.simulation, parts.simulation_global),
        ]
    elif len(model.constraints) > sum(k in model.fixed for k in model.constraints):
        split = split_errors(result, pois=pois)
        names.append(DATA)
        columns.append((split.statistical, split.statistical_global))
    both = np.array(columns, float).reshape(len(names), 2, len(pois))
    return tuple(names), both[:, 0].T, both[:, 1].T


def nonprofiled_of(
    model: TemplateModel, result: FitResult, *, max_steps: int
) -> NonprofiledShifts | None:
    """Move each frozen parameter by its width, and fit again; None without any POI.

    Args:
        model: The model.
        result: Its fit.
        max_steps: Of each fit.
    """
    pois = _pois(model, result)
    if not pois:
        return None
    found = nonprofiled_impacts(model, result, pois=pois, max_steps=max_steps)
    groups = {name: model.groups[name] for name in sorted(model.groups)}
    sides = found.envelope(groups) | {TOTAL: found.envelope()["total"]}
    both = np.array([np.asarray(side) for side in sides.values()])
    return NonprofiledShifts(
        interest=pois,
        names=found.names,
        widths=np.asarray(found.widths, float),
        down=np.asarray(found.down, float),
        up=np.asarray(found.up, float),
        groups=tuple(sides),
        grouped_down=both[:, 0].T,
        grouped_up=both[:, 1].T,
    )


__all__ = ["impacts_of", "nonprofiled_of"]
