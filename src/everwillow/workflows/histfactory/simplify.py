"""Simplified likelihoods of workspaces, made by a fit of the backgrounds."""

from collections.abc import Collection, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.fitting import FitResult, fit
from everwillow.mappings import nominal_covariance
from everwillow.models.binned import BinnedModel
from everwillow.models.histfactory.model import from_pyhf
from everwillow.models.histfactory.operations import list_of_names, prune
from everwillow.models.histfactory.patchset import patched_workspace
from everwillow.models.histfactory.simplified import (
    SimplifiedWorkspace,
    simplified_workspace,
)
from everwillow.models.json_source import Source
from everwillow.statelib import State
from everwillow.uncertainty import covariance_matrix
from everwillow.uncertainty.matrices import labels
from everwillow.workflows.documents import open_document


def simplify_workspace(
    workspace: Source,
    *,
    signals: Collection[str],
    control: Collection[str] | None = None,
    components: int | float | None = None,
    keep: Collection[str] | None = None,
    measurement: str | int | None = None,
    patches: Any = None,
    poi: str | None = None,
    interpolation: str | Mapping[str, str] = "default",
    background: str = "Bkg",
) -> SimplifiedWorkspace:
    r"""Fit the backgrounds of a workspace, and make a simplified workspace of them.

    The signals are removed and the backgrounds are fitted. `simplified_workspace` makes
    a workspace of their yields after the fit, and of the covariance
    :math:`J C J^\mathsf T` of these yields, with the derivatives J of the yields and
    the covariance C of the parameters.

    The choice of the fitted channels matters:

    - With `control`, only the control channels are fitted. They determine the
      backgrounds, so the simplified workspace has the other channels only. No data are
      used twice: with all components the approximation is that the background is normal
      and that there is no signal in the control channels.
    - Without `control`, all channels are fitted, and the simplified workspace has all
      channels: the published form, ATL-PHYS-PUB-2021-038. The data are used twice, in
      the fit and in the simplified workspace: the more they constrain the backgrounds,
      the more its limits are too strong.

    Args:
        workspace: A file, JSON text or a dict.
        signals: Names of the signal samples.
        control: Names of the channels to fit.
        components: None for one nuisance parameter, their number, or the part of the
            variance to keep, as for `simplified_workspace`.
        keep: Types of modifiers to keep on the signals; None for all.
        measurement: Name or index of the measurement; the first if None.
        patches: As for `from_pyhf`: patches that add the signal, for a workspace
            without it.
        poi: Parameter of interest instead of that of the measurement.
        interpolation: Of the full workspace, as for `from_pyhf`.
        background: The name of the sample with all backgrounds.

    Raises:
        FitError: If the fit failed.
        UnknownKeyError: If there is no such sample, channel or measurement.
        ArgumentValueError: If the control channels do not determine the backgrounds
            of the others.
        SpecificationError: If the workspace is not valid, or a channel has only
            signals.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> norm = {"name": "norm", "type": "normfactor", "data": None}
        >>> signal = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": name,
        ...             "samples": [
        ...                 {"name": "top", "data": [top], "modifiers": [norm]},
        ...                 *signals,
        ...             ],
        ...         }
        ...         for name, top, signals in (("CR", 400.0, []), ("SR", 8.0, [signal]))
        ...     ],
        ...     "observations": [
        ...         {"name": "CR", "data": [625]},
        ...         {"name": "SR", "data": [14]},
        ...     ],
        ...     "measurements": [
        ...         {"name": "m", "config": {"poi": "mu", "parameters": []}}
        ...     ],
        ...     "version": "1.0.0",
        ... }
        >>> made = simplify_workspace(workspace, signals=["signal"], control=["CR"])
        >>> (background,) = made.workspace["channels"][0]["samples"][0]["data"]
        >>> print(f"{background:.12f}")
        12.500000000000
    """
    document = open_document(workspace, ("pyhf",)).content
    if patches is not None:
        document = patched_workspace(document, patches)
    options = {"measurement": measurement, "interpolation": interpolation}
    backgrounds = prune(document, samples=signals)
    fitted = target = from_pyhf(backgrounds, poi="", **options)
    notes: tuple[str, ...] = ()
    if control is not None:
        control = _control(control, [name for name, _ in target.channels])
        others = [name for name, _ in target.channels if name not in control]
        fitted = from_pyhf(prune(backgrounds, channels=others), poi="", **options)
        target = from_pyhf(prune(backgrounds, channels=control), poi="", **options)
        document = prune(document, channels=control)
    else:
        notes = (
            "The data of all channels determined the background, and are in this "
            "workspace as well.",
        )
    result = fit(fitted)
    params, covariance = _carried_over(target, fitted, result)
    counts, slopes = _linearised(target, params)
    made = simplified_workspace(
        document,
        signals=signals,
        yields=np.asarray(counts),
        covariance=slopes @ covariance @ slopes.T,
        components=components,
        keep=keep,
        values={str(k): v for k, v in {**result.params, **params}.items()},
        measurement=measurement,
        poi=poi,
        background=background,
    )
    return SimplifiedWorkspace(
        made.workspace, made.components, made.kept, (*notes, *made.report)
    )


def _control(control: Any, known: list[str]) -> list[str]:
    names = list_of_names(control, "control")
    for name in names:
        if name not in known:
            raise unknown_key(name, known, where="control", kind="channel")
    if not names or set(names) == set(known):
        which = "all" if names else "none"
        raise ArgumentValueError(
            f"control: these are {which} of the channels. Name the channels that "
            "determine the backgrounds of the others, or None to fit all of them."
        )
    return names


def _carried_over(
    target: BinnedModel, fitted: BinnedModel, result: FitResult
) -> tuple[State, np.ndarray]:
    """Return the parameters of a model and their covariance after another fit.

    Parameters that the fit does not have keep the value and the width of their
    constraint, uncorrelated.
    """
    params = target.state.with_values(
        [
            result.params[key] if key in result.params else target.state[key]
            for key in target.state
        ]
    )
    names = labels(target.state, target.fixed)
    fitted_places = {name: place for place, name in enumerate(labels(result))}
    covariance = np.array(nominal_covariance(target))
    after = np.asarray(covariance_matrix(fitted, result))
    known = [place for place, name in enumerate(names) if name in fitted_places]
    places = [fitted_places[names[place]] for place in known]
    covariance[np.ix_(known, known)] = after[np.ix_(places, places)]
    undetermined = [
        name
        for place, name in enumerate(names)
        if name not in fitted_places and covariance[place, place] == 0
    ]
    if undetermined:
        raise ArgumentValueError(
            f"control: no control channel determines {', '.join(undetermined[:8])}, "
            "which has no constraint. Add the channels that do, or leave `control` out."
        )
    return params, covariance


def _linearised(model: BinnedModel, params: State) -> tuple[np.ndarray, np.ndarray]:
    """Return the yields and their derivatives in the free parameters."""
    counts, slopes = _derivatives(model.bare, params)
    every = labels(model.state)
    free = {*labels(model.state, model.fixed)}
    chosen = [place for place, name in enumerate(every) if name in free]
    return np.asarray(counts), np.asarray(slopes)[:, chosen]


@eqx.filter_jit
def _derivatives(model: BinnedModel, params: State) -> tuple[Any, Any]:
    vector, unravel = ravel_pytree(params)
    counts = lambda x: model.expected(unravel(x))
    return counts(vector), jax.jacfwd(counts)(vector)
