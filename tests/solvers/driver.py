"""Run the solver on many problems with one compiled step.

The solver takes its evaluations from outside here: each problem compiles its own
residuals, and all share one step, for which they are padded to one size with
parameters that are not free and residuals that are zero.
"""

import dataclasses
import functools as ft
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from everwillow.curvature import Dense
from everwillow.objective import Evaluation, LeastSquares
from everwillow.solvers import TrustRegionNewton
from everwillow.solvers.termination import StopCode


SIZE = 11
POINTS = 256
# Most of the time of these tests is compiling, and nothing here runs for long.
QUICK_TO_COMPILE = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 0,
}


@dataclasses.dataclass(frozen=True)
class Ending:
    """Where a fit ended, and why."""

    x: np.ndarray
    nll: float
    code: int
    evaluations: int


def evaluator(residuals: Callable[[jax.Array], jax.Array], size: int):
    """Return the compiled evaluation of ``½ Σ r²``, padded."""
    objective = LeastSquares(lambda x, _: residuals(x))

    @ft.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def evaluate(x):
        found = objective.curvature(x[:size], None)

        def padded(array, shape):
            corner = tuple(slice(0, n) for n in array.shape)
            return jnp.zeros(shape).at[corner].set(array)

        return Evaluation(
            found.value,
            padded(found.gradient, SIZE),
            Dense(padded(found.curvature.matrix, (SIZE, SIZE))),
            Dense(padded(found.gauss_newton.matrix, (SIZE, SIZE))),
            padded(found.residuals, POINTS),
            padded(found.jacobian, (POINTS, SIZE)),
        )

    return evaluate


def _scaled(found: Evaluation, factor: float, structured: bool) -> Evaluation:
    root = np.sqrt(factor)
    plain = Evaluation(
        factor * found.value,
        factor * found.gradient,
        Dense(factor * found.curvature.matrix),
    )
    if not structured:
        return plain
    return Evaluation(
        plain.value,
        plain.gradient,
        plain.curvature,
        Dense(factor * found.gauss_newton.matrix),
        root * found.residuals,
        root * found.jacobian,
    )


def _objective(y, found):
    return jnp.sum(y), None


def _options(free):
    return {"evaluate": lambda x, found: found, "free": free}


@ft.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
def _init(y, found, free):
    solver = TrustRegionNewton()
    options = _options(free)
    return solver.init(_objective, y, found, options, None, None, frozenset())


@ft.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
def _step(y, found, free, state):
    solver = TrustRegionNewton()
    options = _options(free)
    y, state, _ = solver.step(_objective, y, found, options, state, frozenset())
    return y, state


@ft.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
def _postprocess(y, found, free, state):
    solver = TrustRegionNewton()
    arguments = (_objective, y, None, found, _options(free), state, frozenset(), None)
    return solver.postprocess(*arguments)[0]


def minimise(
    evaluate: Callable[[jax.Array], Evaluation],
    start: np.ndarray,
    *,
    structured: bool,
    factor: float = 1.0,
    max_steps: int = 256,
) -> Ending:
    """Minimise ``factor · ½ Σ r²`` from a start.

    Args:
        evaluate: What `evaluator` returned.
        start: The start, not padded.
        structured: Whether the solver is shown the residuals and their Jacobian; if
            not, the objective is any scalar function to it.
        factor: Of the objective.
        max_steps: Most evaluations.
    """
    size = len(start)
    y = jnp.zeros(SIZE).at[:size].set(start)
    free = jnp.arange(SIZE) < size

    def look(x):
        return _scaled(evaluate(x), factor, structured)

    found = look(y)
    state = _init(y, found, free)
    while not state.done and state.evaluations < max_steps:
        y, state = _step(y, look(y), free, state)
    x = _postprocess(y, found, free, state)[:size]
    # At a minimum the last step is taken and not evaluated, as in a fit.
    gain = float(state.edm) if int(state.code) == StopCode.MINIMUM else 0.0
    return Ending(
        np.asarray(x), float(state.nll) - gain, int(state.code), int(state.evaluations)
    )


def is_minimum(
    evaluate: Callable[[jax.Array], Evaluation], x: np.ndarray, factor: float = 1.0
) -> bool:
    """Judge a point by eigenvalues, which the solver does not use.

    In units in which the Hessian has a diagonal of one, all eigenvalues must be
    positive beyond rounding, and the point within 0.03 standard errors of where the
    quadratic model has its minimum (residuals of exact data are all rounding).
    """
    size = len(x)
    found = evaluate(jnp.zeros(SIZE).at[:size].set(x))
    gradient = factor * np.asarray(found.gradient)[:size]
    hessian = factor * np.asarray(found.curvature.matrix)[:size, :size]
    diagonal = np.diag(hessian)
    if not np.all(diagonal > 0):
        return False
    unit = np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(hessian / unit / unit[:, None])
    if values[0] < 1e-14:
        return False
    along = vectors.T @ (gradient / unit)
    return float(np.sum(along**2 / values)) < 1e-3
