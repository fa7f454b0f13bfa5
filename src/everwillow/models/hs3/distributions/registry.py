"""Construction of distributions from their definitions in a document."""

from collections.abc import Callable, Mapping
from typing import Any

from everwillow._errors import SpecificationError, nearest, unknown_key
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import (
    AbstractDistribution,
    AbstractExtended,
)
from everwillow.models.hs3.distributions.composite import (
    BinCounts,
    DensityFunction,
    EfficiencyProduct,
    ExtendedMixture,
    Generic,
    Mixture,
    Product,
    RateDensity,
    RateExtended,
)
from everwillow.models.hs3.distributions.crystal_ball import CrystalBall
from everwillow.models.hs3.distributions.decay import SIDES, Decay, read_resolution
from everwillow.models.hs3.distributions.elementary import (
    Exponential,
    Gaussian,
    LogNormal,
    Poisson,
    Uniform,
)
from everwillow.models.hs3.distributions.histograms import (
    ExtendedWeightedSum,
    HistogramDensity,
    WeightedSumDensity,
)
from everwillow.models.hs3.distributions.polynomials import (
    Bernstein,
    Chebychev,
    Polynomial,
)
from everwillow.models.hs3.distributions.several import (
    BarlowBeestonLite,
    MultivariateNormal,
)
from everwillow.models.hs3.distributions.shapes import (
    Argus,
    GeneralizedNormal,
    RelativisticBreitWigner,
)
from everwillow.models.hs3.functions.base import read_binning
from everwillow.models.hs3.functions.interpolations import WeightedSum


_MAX_DEPTH = 40
_MOST = 20_000

FUNDAMENTAL: dict[str, Any] = {
    "argus_dist": Argus,
    "barlow_beeston_lite_poisson_constraint_dist": BarlowBeestonLite,
    "bernstein_poly_dist": Bernstein,
    "chebychev_dist": Chebychev,
    "crystalball_dist": CrystalBall,
    "crystalball_doublesided_dist": CrystalBall,
    "density_function_dist": DensityFunction,
    "exponential_dist": Exponential,
    "gaussian_dist": Gaussian,
    "generic_dist": Generic,
    "generalized_normal_dist": GeneralizedNormal,
    "gennormal_dist": GeneralizedNormal,
    "histogram_dist": HistogramDensity,
    "log_density_function_dist": DensityFunction,
    "lognormal_dist": LogNormal,
    "multivariate_normal_dist": MultivariateNormal,
    "normal_dist": Gaussian,
    "poisson_dist": Poisson,
    "polynomial_dist": Polynomial,
    "rate_density_dist": RateDensity,
    "relativistic_breit_wigner_dist": RelativisticBreitWigner,
}
"""The distributions that refer to no others, by their type in a document."""

_REFUSED = {
    "histfactory_dist": "it is paired with binned data itself, and part of no other",
    "analytic_convolution_dist": "a decay_dist is what there is of it",
    "mixture_model": "it stands only as the resolutionModel of a decay_dist",
    "gauss_model_function": "it stands only as the resolutionModel of a decay_dist",
    "truth_model_function": "it stands only as the resolutionModel of a decay_dist",
    "landau_dist": "it has no closed form",
}


class Builder:
    """Makes distributions of the definitions of a document.

    Args:
        specs: Definitions of distributions by name.
        functions: Definitions of functions by name, which include resolution models.

    Attributes:
        notes: Ignored keys and assumptions, one sentence each.
    """

    def __init__(
        self,
        specs: Mapping[str, Mapping[str, Any]],
        functions: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.specs = specs
        self.functions = functions or {}
        self.notes: dict[str, None] = {}
        self._path: list[str] = []
        self._made = 0
        self._built: dict[str, AbstractDistribution] = {}

    def build(self, name: str) -> AbstractDistribution:
        """Return a distribution, with its parts.

        Raises:
            SpecificationError: If a definition cannot be used.
            UnknownKeyError: If there is no such distribution.
        """
        if not self._path and name in self._built:
            return self._built[name]
        if name in self._path:
            loop = " -> ".join([*self._path[self._path.index(name) :], name])
            raise SpecificationError(
                f"distributions: they need each other in a circle: {loop}."
            )
        if len(self._path) >= _MAX_DEPTH:
            raise SpecificationError(
                f"distributions/{name}: more than {_MAX_DEPTH} inside each other."
            )
        # Parts that are shared many times become as many copies.
        self._made += 1
        if self._made > _MOST:
            raise SpecificationError(
                f"distributions: they unfold into more than {_MOST}."
            )
        self._path.append(name)
        try:
            fields = self.fields(name)
            made = self._make(fields)
            self.notes.update(dict.fromkeys(fields.close()))
        finally:
            self._path.pop()
        if not self._path:
            self._built[name] = made
        return made

    def fields(self, name: str) -> Fields:
        """Return the definition of a distribution.

        Raises:
            UnknownKeyError: If there is none.
        """
        if name not in self.specs:
            where = self._path[-2] if len(self._path) > 1 else "likelihood"
            raise unknown_key(name, self.specs, where=f"distributions/{where}")
        return Fields("distributions", name, self.specs[name])

    def _make(self, fields: Fields) -> AbstractDistribution:
        kind = fields.type
        if kind in _REFUSED:
            fields.refuse(
                f"distributions of type {kind!r} are not supported here; "
                f"{_REFUSED[kind]}"
            )
        if kind not in TYPES:
            hint = nearest(kind, TYPES) or f" Have: {', '.join(TYPES)}"
            fields.refuse(f"there is no distribution type {kind!r}.{hint}")
        if kind in FUNDAMENTAL:
            return FUNDAMENTAL[kind].read(fields)
        return COMPOSITE[kind](self, fields)

    def resolution_model(self, name: str) -> Fields:
        """Return the definition of a resolution model."""
        if name in self.functions:
            return Fields("functions", name, self.functions[name])
        return self.fields(name)


def _children(
    builder: Builder, fields: Fields, key: str, *, empty: bool = False
) -> tuple[AbstractDistribution, ...]:
    names = fields.names_at(key, empty=empty)
    return tuple(builder.build(name) for name in names)


def _efficiency_product_pdf_dist(
    builder: Builder, fields: Fields
) -> AbstractDistribution:
    pdf = builder.build(fields.name_at("pdf"))
    return EfficiencyProduct(fields.name, pdf, fields.get("eff"))


def _product_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    if fields.raw("normalization"):
        fields.refuse(
            "products of conditional densities ('normalization') are not supported"
        )
    fields.raw("x")
    factors = tuple(
        factor
        for factor in _children(builder, fields, "factors", empty=True)
        if not (isinstance(factor, Product) and not factor.factors)
    )
    return factors[0] if len(factors) == 1 else Product(fields.name, factors)


def _mixture_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    fields.raw("x")
    extended = fields.flag("extended")
    coefficients = fields.list_at("coefficients", empty=True)
    summands = _children(builder, fields, "summands")
    if not coefficients and all(isinstance(s, AbstractExtended) for s in summands):
        return ExtendedMixture(fields.name, summands, ())
    missing = len(summands) - len(coefficients)
    if missing not in (0, 1):
        fields.refuse(
            f"{len(summands)} summands need as many coefficients or one less, not "
            f"{len(coefficients)}"
        )
    if missing and extended:
        fields.refuse("an extended mixture needs a coefficient for each summand")
    if extended is None and not missing:
        fields.note("with a coefficient for each summand it is extended")
    if missing or extended is False:
        return Mixture(fields.name, summands, coefficients)
    return ExtendedMixture(fields.name, summands, coefficients)


def _uniform_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    del builder
    # ROOT lists the variables, also a single one.
    if not isinstance(fields.raw("x"), list):
        return Uniform(fields.name, fields.get("x"))
    parts = tuple(Uniform(fields.name, x) for x in fields.list_at("x"))
    return parts[0] if len(parts) == 1 else Product(fields.name, parts)


def _weighted_sum_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    total = WeightedSum.read(fields)
    for name in total.samples:
        if name in builder.specs and name not in builder.functions:
            fields.refuse(
                f"the sample {name!r} is a distribution; a weighted sum is of "
                "functions, and a mixture_dist of distributions"
            )
    if not fields.flag("extended"):
        return WeightedSumDensity(fields.name, total)
    if len(total.coefficients) < len(total.samples):
        fields.refuse("an extended sum needs a coefficient for each sample")
    return ExtendedWeightedSum(fields.name, total)


def _rate_extended_dist(builder: Builder, fields: Fields) -> RateExtended:
    # ROOT has other keys, those of RooExtendPdf.
    if fields.raw("range"):
        fields.refuse("the expected number in a part of the range is not supported")
    name = fields.name_at("dist", "distribution", "pdf")
    return RateExtended(fields.name, fields.get("rate", "norm"), builder.build(name))


def _bincounts_extended_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    return BinCounts(fields.name, _rate_extended_dist(builder, fields), _edges(fields))


def _bincounts_density_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    del builder
    return BinCounts(fields.name, RateDensity.read(fields), _edges(fields))


def _decay_dist(builder: Builder, fields: Fields) -> AbstractDistribution:
    kind = fields.raw("decayType", 0)
    if isinstance(kind, bool) or not isinstance(kind, int) or kind not in SIDES:
        fields.refuse(f"'decayType' must be 0, 1 or 2, not {kind!r}")
    model = fields.name_at("resolutionModel", "resolution_model")
    find = builder.resolution_model
    resolution = read_resolution(find(model), find)
    t: Reference = fields.get("t", "x")
    return Decay(fields.name, t, fields.positive("tau"), SIDES[kind], resolution)


def _edges(fields: Fields) -> tuple[tuple[str, tuple[float, ...]], ...]:
    fields.raw("axes")
    return read_binning(fields).axes if fields.spec.get("axes") else ()


COMPOSITE: dict[str, Callable[[Builder, Fields], AbstractDistribution]] = {
    "bincounts_density_dist": _bincounts_density_dist,
    "bincounts_extended_dist": _bincounts_extended_dist,
    "decay_dist": _decay_dist,
    "efficiency_product_pdf_dist": _efficiency_product_pdf_dist,
    "extend_pdf": _rate_extended_dist,
    "mixture_dist": _mixture_dist,
    "product_dist": _product_dist,
    "rate_extended_dist": _rate_extended_dist,
    "uniform_dist": _uniform_dist,
    "weighted_sum_dist": _weighted_sum_dist,
}
"""What reads the distributions that refer to others, by their type."""

TYPES = (*FUNDAMENTAL, *COMPOSITE)
"""All types that can be evaluated."""
