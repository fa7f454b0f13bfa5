"""Second-order minimisers, for `fit` and for `optimistix.minimise`."""

from everwillow._lazy_names import listed_names
from everwillow.solvers.newton_cg import NewtonCG
from everwillow.solvers.trust_region_newton import TrustRegionNewton


__dir__ = listed_names(globals())

__all__ = ["NewtonCG", "TrustRegionNewton"]
