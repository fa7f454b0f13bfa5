"""A matrix-free Newton solver, for more parameters than a Hessian has room for."""

from collections.abc import Callable
from typing import Any

import optimistix as optx
from jaxtyping import Array, PyTree


class NewtonCG(optx.AbstractMinimiser[Any, Any, Any]):
    """Placeholder."""

    edm_goal: float = 1e-8
    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[PyTree], Array] = optx.max_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        """Set up."""

    def step(self, fn, y, args, options, state, tags):
        """Step."""

    def terminate(self, fn, y, args, options, state, tags):
        """Stop."""

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """End."""
