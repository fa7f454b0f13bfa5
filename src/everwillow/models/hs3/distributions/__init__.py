"""The distributions of HS3, as unnormalised densities in log space."""

from everwillow._lazy_names import listed_names
from everwillow.models.hs3.distributions.base import (
    AbstractClosed as AbstractClosed,
    AbstractDistribution as AbstractDistribution,
    AbstractExtended as AbstractExtended,
    AbstractNumeric as AbstractNumeric,
)
from everwillow.models.hs3.distributions.composite import (
    BinCounts as BinCounts,
    DensityFunction as DensityFunction,
    EfficiencyProduct as EfficiencyProduct,
    ExtendedMixture as ExtendedMixture,
    Generic as Generic,
    Mixture as Mixture,
    Product as Product,
    RateDensity as RateDensity,
    RateExtended as RateExtended,
)
from everwillow.models.hs3.distributions.crystal_ball import CrystalBall as CrystalBall
from everwillow.models.hs3.distributions.decay import Decay as Decay
from everwillow.models.hs3.distributions.elementary import (
    Exponential as Exponential,
    Gaussian as Gaussian,
    LogNormal as LogNormal,
    Poisson as Poisson,
    Uniform as Uniform,
)
from everwillow.models.hs3.distributions.polynomials import (
    Bernstein as Bernstein,
    Chebychev as Chebychev,
    Polynomial as Polynomial,
)
from everwillow.models.hs3.distributions.registry import (
    TYPES as TYPES,
    Builder as Builder,
)
from everwillow.models.hs3.distributions.several import (
    BarlowBeestonLite as BarlowBeestonLite,
    MultivariateNormal as MultivariateNormal,
)
from everwillow.models.hs3.distributions.shapes import (
    Argus as Argus,
    GeneralizedNormal as GeneralizedNormal,
    RelativisticBreitWigner as RelativisticBreitWigner,
)


__dir__ = listed_names(globals())
