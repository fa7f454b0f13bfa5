r"""The reference density, estimated from events of the nominal mixture.

An Asimov data set has events of weight :math:`w_i` from the density
:math:`p_\mathrm{ref} \sum_c Y_c r_c`, so that :math:`v_i = w_i / \sum_c Y_c r_{ci}` are
weights for the reference density. With the yields of best fit in place of the nominal
ones, every density has the same integral :math:`\sum_i v_i r_{ci}`: 1 where the
reference density is a mixture of the samples, and near 1 otherwise, a common factor
without effect. This removes most of the statistical error of other integrals with these
weights (Y. Vardi, Ann. Statist. 13 (1985) 178; calibration of weights). Events of data
may be used, too: the strengths of the signals are not assumed, but nuisance parameters
are taken at 0.
"""

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow.models.nsbi.spec import UnbinnedRegion


_STEPS = 50
_ENOUGH = 1e-12
# A direction of yields that changes no density is left alone.
_SINGULAR = 1e-10


def reference_weights(region: UnbinnedRegion) -> Float[np.ndarray, " n"]:
    """Return weights of the reference events of a region, with sum 1.

    Raises:
        ArgumentValueError: If the sum of the weights given is not positive.
    """
    if region.reference_weights is not None:
        return region.reference_weights
    events = region.simulated
    weights = np.asarray(events.weights, float)
    total = float(np.sum(weights))
    if not total > 0:
        raise ArgumentValueError(
            f"region {region.name!r}: the weights of the reference sample have the sum "
            f"{total:g}, and it must be positive."
        )
    if region.from_reference_density:
        return weights / total
    ratios = np.stack([events.ratios[sample.name] for sample in region.samples])
    expected = np.array([sample.expected for sample in region.samples])
    return density_weights(weights, ratios, expected)


def density_weights(
    weights: Float[np.ndarray, " n"],
    ratios: Float[np.ndarray, "samples n"],
    expected: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, " n"]:
    r"""Return weights of events for the reference density, with sum 1.

    Args:
        weights: The weights of the events.
        ratios: :math:`r_{ci}`.
        expected: The nominal yields, where the search for the best ones starts.
    """
    yields = _best_yields(weights, ratios, expected)
    density = yields @ ratios
    # Nothing can be said where no sample has a density.
    possible = (weights != 0) & (density > 0)
    result = np.where(possible, weights, 0) / np.where(possible, density, 1)
    return result / np.sum(result)


def _best_yields(
    weights: Float[np.ndarray, " n"],
    ratios: Float[np.ndarray, "samples n"],
    expected: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, " samples"]:
    """Minimise the extended -ln L of the events by Newton steps, with halved ones."""
    entering = weights != 0

    def nll(yields: np.ndarray) -> float:
        density = (yields @ ratios)[entering]
        if not np.all(density > 0):
            return np.inf
        return float(np.sum(yields) - weights[entering] @ np.log(density))

    yields = np.array(expected, float)
    value = nll(yields)
    if not np.isfinite(value):
        return yields
    for _ in range(_STEPS):
        density = yields @ ratios
        over = np.where(entering, weights / np.where(entering, density, 1), 0)
        gradient = 1 - ratios @ over
        hessian = (ratios * (over / np.where(entering, density, 1))) @ ratios.T
        step = np.linalg.pinv(hessian, rcond=_SINGULAR, hermitian=True) @ gradient
        decrease = 0.5 * float(gradient @ step)
        if decrease <= _ENOUGH:
            return yields
        length = 1.0
        while nll(yields - length * step) > value - 0.1 * length * decrease:
            length /= 2
            if length < _ENOUGH:
                return yields
        yields = yields - length * step
        value = nll(yields)
    return yields
