"""Goodness of fit as text."""

from everwillow._rounding import named_pvalue, plain
from everwillow.goodness.pvalues import ToyPValue
from everwillow.toys.fits import ToyFits
from everwillow.workflows.report import ChiSquare


def goodness_text(test: ChiSquare) -> str:
    """Return lines on the saturated test with the chi2 distribution."""
    lines = [
        "Goodness of fit: comparison with the saturated model, which describes every "
        "datum exactly.",
        f"q = {plain(test.statistic)}, degrees of freedom {test.ndof:g}",
    ]
    if test.ndof > 0:
        lines.append(f"{named_pvalue(test.pvalue)} (chi2 distribution)")
    else:
        lines.append(
            "There is no p-value from the chi2 distribution, as there are not more "
            "data than free parameters."
        )
    return "\n".join(lines)


def toy_pvalue_text(toys: ToyPValue, fits: ToyFits, seed: int) -> str:
    """Return lines on the p-value from toys."""
    valid, failed = int(toys.valid), int(toys.failed)
    lines = [
        f"p = {plain(float(toys.pvalue), 3)} ({int(toys.at_least)} of {valid} toys "
        f"have q at least as large; seed {seed}), 68 % interval "
        f"{plain(float(toys.lower), 3)} to {plain(float(toys.upper), 3)}"
    ]
    if not valid:
        lines = ["FAILED: no toy has a statistic, so there is no p-value from toys."]
    if failed:
        lines.append(f"Not in it: {failed} toys without a minimum.")
        lines.append(str(fits).partition("; ")[2].removesuffix(")"))
    return "\n".join(lines)
