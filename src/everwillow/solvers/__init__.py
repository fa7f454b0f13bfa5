"""Second-order minimisers, for `fit` and for `optimistix.minimise`."""

from everwillow.solvers.newton_cg import NewtonCG
from everwillow.solvers.trust_region_newton import TrustRegionNewton


__all__ = ["NewtonCG", "TrustRegionNewton"]
