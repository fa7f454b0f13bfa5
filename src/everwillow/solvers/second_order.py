"""What the engine of fits relies on in a minimiser that uses second derivatives."""

from typing import Any

import equinox as eqx
import optimistix as optx


class AbstractSecondOrderMinimiser(optx.AbstractMinimiser[Any, Any, Any]):
    """A minimiser that uses second derivatives, and honours boxes and a mask.

    From the options of `optimistix.minimise` it reads ``"evaluate"``, a function ``(y,
    args) -> Evaluation``, and ``"lower"``, ``"upper"`` and ``"free"``, vectors of the
    flat length.

    Its state describes the best point so far: the flat vector ``x``, ``nll``,
    ``gradient``, ``edm``, the Newton step ``newton``, the parameters held at a bound
    ``active``, whether the curvature is positive ``definite``, a
    `everwillow.solvers.termination.StopCode` ``code``, the number of ``evaluations``
    and the `OpenEnds` ``ends``. If it is not `matrix_free`, the state has the
    `Evaluation` of that point as ``evaluation``.

    Attributes:
        matrix_free: Whether it only multiplies vectors with the Hessian.
    """

    matrix_free: eqx.AbstractClassVar[bool]
