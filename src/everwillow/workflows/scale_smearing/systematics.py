r"""All errors of responses and resolutions in one covariance.

A systematic uncertainty is the shift of all categories together between two fits, so
its covariance is the outer product of the shifts: neighbouring categories move
together, which a sum in quadrature for each category loses.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from everwillow.models.scale_smearing.mixtures import moments
from everwillow.models.scale_smearing.parameters import SasParameters


def combined(
    nominal: SasParameters,
    systematics: Mapping[str, SasParameters],
    *,
    scale_flat: float = 0.0,
    smear_flat: float = 0.0,
) -> SasParameters:
    r"""Return the nominal result with the errors of all sources.

    The square of an error is :math:`\sigma_\mathrm{stat}^2 + \sigma_\mathrm{mc}^2 +
    \mathrm{flat}^2 + \sum_k (\theta_k - \theta)^2`. A constant error is taken as one
    source that moves all categories together, responses and resolutions separately. If
    a variation has no number in a category, its error there is not known, and neither
    is the total. Of a smearing at zero the upper end of the one-sided interval gets the
    errors of the other sources in quadrature; that of limited simulation is not known
    there.

    Args:
        nominal: The nominal result.
        systematics: By name the result of each variation. Those with two Gaussians are
            compared by mean and standard deviation of their response.
        scale_flat: A constant error of responses.
        smear_flat: A constant error of resolutions.
    """
    size = nominal.resp.size
    values = np.concatenate([nominal.resp, nominal.reso])
    parts = dict(nominal.covariances)
    half = np.repeat([1.0, 0.0], size)
    flats = np.stack([scale_flat * half, smear_flat * (1 - half)])
    if flats.any():
        parts["flat"] = flats.T @ flats
    unknown = {}
    for name, one in systematics.items():
        shift = shifts(nominal, one)
        parts[name] = np.outer(shift, shift)
        lost = np.isnan(shift) & ~np.isnan(values)
        if lost.any():
            indices = np.flatnonzero(lost[:size] | lost[size:])
            unknown[name] = [int(i) for i in indices]
    if nominal.covariances:
        total = sum(parts.values())
    else:
        total = np.full((2 * size, 2 * size), np.nan)
    errors = np.sqrt(np.diagonal(total))
    notes = [
        f"The systematic {name!r} has no number in the categories "
        f"{', '.join(map(str, found))}, so their total errors are not known."
        for name, found in unknown.items()
    ]
    origin = {**nominal.origin, "systematics": list(systematics)}
    origin["notes"] = [*origin.get("notes", []), *notes]
    return dataclasses.replace(
        nominal,
        eresp=errors[:size],
        ereso=errors[size:],
        reso_upper=_upper(nominal, parts),
        covariance=np.asarray(total) if nominal.covariances else None,
        covariances=parts,
        origin=origin,
    )


def _upper(
    nominal: SasParameters, parts: Mapping[str, np.ndarray]
) -> Float[np.ndarray, " categories"]:
    """Return the ends of one-sided intervals with all sources."""
    size = nominal.resp.size
    square = nominal.reso_upper**2
    for name, part in parts.items():
        if name not in nominal.covariances:
            square = square + np.diagonal(part)[size:]
    return np.sqrt(square)


def shifts(
    nominal: SasParameters, varied: SasParameters
) -> Float[np.ndarray, " twice"]:
    """Return the shifts of responses, then resolutions, by a variation."""
    resp, reso = varied.resp, varied.reso
    if varied.double:
        moments = double_moments(varied)
        resp, reso = moments["mean2G"], moments["std2G"]
    return np.concatenate([resp - nominal.resp, reso - nominal.reso])


def double_moments(
    parameters: SasParameters,
) -> dict[str, Float[np.ndarray, " categories"]]:
    """Return mean and relative standard deviation of a response of two Gaussians.

    The standard deviation is divided by the mean, like the resolution of one Gaussian.

    Returns:
        ``"mean2G"`` and ``"std2G"``.
    """
    names = ("frac", "reso", "mu", "reso2")
    mean, width = moments(*(parameters.values(name) for name in names))
    return {"mean2G": parameters.resp * mean, "std2G": width / mean}
