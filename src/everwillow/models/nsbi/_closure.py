r"""Whether the densities of a region are normalised on its reference sample.

For exact ratios, :math:`\sum_i v_i r_{ci}` is 1 within its statistical error, for the
nominal density and for those at ±1. It is not if networks are inaccurate, or if the
reference events are not what they are taken for: simulated at the nominal values of
all nuisance parameters.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from everwillow._errors import SpecificationError
from everwillow.models._document import Report, shortened
from everwillow.models.nsbi.likelihood.reference import reference_weights
from everwillow.models.nsbi.spec import UnbinnedRegion


# A deviation is reported if it is as many standard errors, and as large.
_DEVIATIONS = 5.0
_LEAST_DEVIATION = 0.02


def check_normalisation(region: UnbinnedRegion, report: Report) -> None:
    """Check that the densities of a region can be normalised, and are.

    Args:
        region: The region, with the weights of its reference events.
        report: The report of the reader, which says what is not normalised.

    Raises:
        SpecificationError: If the density of a sample is zero on all reference events.
    """
    weights = reference_weights(region)
    for sample in region.samples:
        if not weights @ region.simulated.ratios[sample.name] > 0:
            raise SpecificationError(
                f"Region {shortened(region.name)}: the ratios of sample "
                f"{shortened(sample.name)} are 0 on all simulated events, so that its "
                "density cannot be normalised. Leave the sample out of the region, or "
                "mend its ratios."
            )
    if region.reference is None and np.all(region.events.weights == 1):
        _tell(
            f"Region {shortened(region.name)}: all events have the weight 1, so they "
            "look like data, and there is no reference sample. The densities that "
            "systematics change are normalised with these events, which hides what the "
            "data say about the systematics. Give simulated events (the key Reference "
            "of the region, or Data for the observed ones), or load the workspace "
            "with normalize=False.",
            report,
        )
    worst = max(_deviations(region, weights), default=None)
    if worst is not None and worst[0] > _DEVIATIONS:
        _, what, total, error = worst
        sample = "reference sample" if region.reference is not None else "Asimov set"
        _tell(
            f"Region {shortened(region.name)}: on the {sample} the density of {what} "
            f"has the integral {total:.3f} ± {error:.3f}, and 1 is expected. Either "
            "its ratios are inaccurate, or these events are not simulated at the "
            "nominal values. Densities are normalised with them: data need a reference "
            "sample of simulated events (in a configuration by Data or Reference).",
            report,
        )


def _tell(sentence: str, report: Report) -> None:
    report.say(sentence)
    warnings.warn(sentence, stacklevel=5)


def _deviations(
    region: UnbinnedRegion, weights: Float[np.ndarray, " n"]
) -> Iterator[tuple[float, str, float, float]]:
    """Yield for each density the deviation in standard errors, and its integral."""
    events = region.simulated
    for sample in region.samples:
        terms = weights * events.ratios[sample.name]
        named = shortened(sample.name)
        if region.from_reference_density:
            total = float(np.sum(terms))
            yield _deviation(f"sample {named}", total - 1, terms)
        for (owner, parameter), change in events.variations.items():
            if owner != sample.name:
                continue
            for factor, sign in ((change.up, "+1"), (change.down, "-1")):
                # The difference from the nominal density has a smaller error.
                moved = terms * (factor - 1)
                what = f"sample {named} at {parameter} = {sign}"
                yield _deviation(what, float(np.sum(moved)), moved)


def _deviation(
    what: str, deviation: float, terms: Float[np.ndarray, " n"]
) -> tuple[float, str, float, float]:
    error = float(np.sqrt(np.sum(terms**2)))
    small = abs(deviation) < _LEAST_DEVIATION or not error > 0
    pull = 0.0 if small else abs(deviation) / error
    return pull, what, 1 + deviation, error
