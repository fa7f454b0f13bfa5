"""The specification of a template fit, in NumPy, made by the builder and by files.

A `TemplateSpec` has resolved every convention: histograms are vectors over all bins,
variations are the responses of the likelihood (see `Responses`), nothing depends on the
order of the calls that made it. `everwillow.models.templates` compiles it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from everwillow.likelihood.histograms import Layout


SystematicType: TypeAlias = Literal["log_normal", "normal"]
"""How variations act: as exponents of the yields, or added to them."""

LOG_FLOOR = float(np.log(1e-3))
"""The log-normal response where a varied yield has another sign than the nominal."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The nominal yields that are not zero, one row for a process in a bin.

    Rows are sorted by bin, then by process.

    Attributes:
        bin: The bin of each row.
        process: The process of each row.
        nominal: Its yield.
        variance: The variance of that yield, from the sample it was made of; 0 where
            it is known exactly.
    """

    bin: Int[np.ndarray, " rows"]
    process: Int[np.ndarray, " rows"]
    nominal: Float[np.ndarray, " rows"]
    variance: Float[np.ndarray, " rows"]


@dataclass(frozen=True, slots=True)
class Systematic:
    """A parameter that deforms templates; it is 0 nominally, and 1 one error up.

    Attributes:
        name: Name of the parameter.
        constrained: Whether a unit Gaussian constrains it.
        groups: The groups of its impact.
        interest: Whether it is a parameter of interest, blinded and shown as such.
    """

    name: str
    constrained: bool = True
    groups: tuple[str, ...] = ()
    interest: bool = False


@dataclass(frozen=True, slots=True)
class Responses:
    r"""Responses of rows of `Templates` to systematics, listed by systematic.

    A systematic with value :math:`\theta` contributes
    :math:`f = \theta\,\mathrm{average} + \theta\,a(\theta)\,\mathrm{half}`, where
    :math:`a` is the smooth sign of `everwillow.likelihood.templates.responses`.
    Log-normal yields are multiplied by :math:`\exp \sum f`; normal ones get
    :math:`\sum f` added.

    Attributes:
        start: For each systematic the first entry that is its own, then the number of
            entries.
        row: The row that an entry acts on; ascending for each systematic.
        average: The mean of the responses to +1 and to -1 (mirrored).
        half: Half their difference; None if all are zero.
    """

    start: Int[np.ndarray, " systematics+1"]
    row: Int[np.ndarray, " entries"]
    average: Float[np.ndarray, " entries"]
    half: Float[np.ndarray, " entries"] | None = None

    @property
    def count(self) -> int:
        """Number of systematics."""
        return self.start.size - 1

    @property
    def systematic(self) -> Int[np.ndarray, " entries"]:
        """The systematic of each entry."""
        return np.repeat(np.arange(self.count), np.diff(self.start))


@dataclass(frozen=True, slots=True)
class ExternalTerm:
    r"""An external likelihood, :math:`g^T x + \frac12 x^T H x`.

    Attributes:
        name: Its name.
        parameters: The scalar parameters x, on their physical scale.
        gradient: g.
        hessian: H, symmetric.
    """

    name: str
    parameters: tuple[str, ...]
    gradient: Float[np.ndarray, " n"]
    hessian: Float[np.ndarray, "n n"]


@dataclass(frozen=True, slots=True)
class BetaVariations:
    """How fluctuations of simulated samples in fitted bins move masked ones.

    The factor β of a process in the source bin adds ``change * (β - 1)`` to its nominal
    yield in the target bin, on which rates and systematics act.

    Attributes:
        process: The process of each entry.
        source: Its fitted bin.
        target: Its masked bin.
        change: Nominal events.
    """

    process: Int[np.ndarray, " entries"]
    source: Int[np.ndarray, " entries"]
    target: Int[np.ndarray, " entries"]
    change: Float[np.ndarray, " entries"]


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """A template fit: expected yields, their variations, and the data.

    Attributes:
        layout: Channels and processes. The processes are sorted: signals first.
        signals: The processes that are signals.
        templates: Their nominal yields.
        systematics: Unconstrained ones first, each part in natural order.
        responses: Their effects.
        systematic_type: How they act.
        observed: Data of the fitted bins; NaN where none were given.
        observed_variance: Their variances, where others than the data were given.
        observed_covariance: The covariance of all fitted bins, if given.
        pseudodata: Other data by name.
        external: External likelihoods.
        beta_variations: Variations of masked bins by β, if any.
        auxiliary: Arrays for models of the parameters of interest, by name and key.
        sparse: Whether to store the responses as a list.
        report: Remarks on assumptions and on unusual inputs, a sentence each.
    """

    layout: Layout
    signals: tuple[str, ...]
    templates: Templates
    systematics: tuple[Systematic, ...]
    responses: Responses
    systematic_type: SystematicType
    observed: Float[np.ndarray, " fitted"]
    observed_variance: Float[np.ndarray, " fitted"] | None = None
    observed_covariance: Float[np.ndarray, "fitted fitted"] | None = None
    pseudodata: Mapping[str, Float[np.ndarray, " fitted"]] = field(default_factory=dict)
    external: tuple[ExternalTerm, ...] = ()
    beta_variations: BetaVariations | None = None
    auxiliary: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    sparse: bool = False
    report: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line with the numbers of channels, bins and parameters."""
        layout = self.layout
        return (
            f"TemplateSpec({len(layout.channels)} channels, {layout.fitted} fitted "
            f"bins, {len(layout.processes)} processes, {len(self.systematics)} "
            "systematics)"
        )


__all__ = [
    "LOG_FLOOR",
    "BetaVariations",
    "ExternalTerm",
    "Responses",
    "Systematic",
    "SystematicType",
    "TemplateSpec",
    "Templates",
]
