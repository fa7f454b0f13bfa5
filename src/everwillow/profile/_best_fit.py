"""The best fit from which profiles start, and the parameters held there."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Unpack

import numpy as np

from everwillow._derivatives import NONE
from everwillow._errors import ArgumentTypeError, ArgumentValueError, DerivativeError
from everwillow._numerics import is_traced, namespace
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import knows_curvature
from everwillow.engine.layout import on_host, ravel_state
from everwillow.engine.names import meant_elements
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.continuation import Foothold, foothold
from everwillow.fitting.options import FitOptions
from everwillow.solvers.trust_region_newton import TrustRegionNewton
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


class BestFit(NamedTuple):
    """A posed fit and its minimum.

    Attributes:
        problem: The fit, before parameters are held.
        minimum: Its result.
        base: The minimum as a foothold.
        held: Parameters held at the minimum throughout, shape ``(n,)``.
        held_names: Labels of these.
    """

    problem: Problem
    minimum: FitResult
    base: Foothold
    held: np.ndarray
    held_names: tuple[str, ...]

    def reaching(self, positions: np.ndarray, values: Any) -> "BestFit":
        """Return the fit with ranges widened to include some values.

        Args:
            positions: As in `Problem.reaching`.
            values: As there.
        """
        return self._replace(problem=self.problem.reaching(positions, values))

    def call(self, program: Callable[..., Any], *args: Any) -> Any:
        """Call ``program(task, numbers, base, held, *args)``, compiled."""
        task, numbers = self.problem.task, self.problem.numbers
        return on_host(
            programs.call(program, task, numbers, self.base, self.held, *args)
        )

    def states(self, x: Any) -> State:
        """Return vectors ``(..., n)`` as a State of arrays ``(..., *shape)``."""
        layout, numbers = self.problem.task.layout, self.problem.numbers
        index = np.asarray(numbers.index)
        xp = namespace(x, numbers.vector)
        vector = xp.broadcast_to(
            xp.asarray(numbers.vector), (*np.shape(x)[:-1], layout.size)
        )
        if xp is np:
            vector = np.array(vector)
            vector[..., index] = np.asarray(x)
        else:
            vector = vector.at[..., index].set(x)
        named = layout.named(vector, range(layout.size))
        others = iter(numbers.others)
        values = [
            value if numeric else next(others)
            for value, numeric in zip(named.values(), layout.numeric, strict=True)
        ]
        return named.with_values(values)


class ProfileProblem(NamedTuple):
    """A posed fit before it is run, which checks names and values.

    Attributes:
        problem: The fit, before parameters are held.
        free_fit: Its result, if the user has passed it.
        held: Parameters to hold at the minimum, shape ``(n,)``.
    """

    problem: Problem
    free_fit: FitResult | None
    held: np.ndarray

    def position(self, name: Key, *, where: str = "name") -> int:
        """Return the position of a parameter of one element."""
        here = self.problem.positions(name, where=where)
        if here.size != 1:
            label = name if isinstance(name, str) else ".".join(name)
            raise ArgumentValueError(
                f"{where}: {name!r} has {here.size} elements. Name one of them, such "
                f"as '{label}[0]'."
            )
        place = int(here[0])
        if self.held[place]:
            raise ArgumentValueError(
                f"{where}: {name!r} is among the parameters that are held."
            )
        return place

    def check_inside(self, name: Key, place: int, values: Any, *, where: str) -> None:
        """Raise an error for values that are not finite or are outside the bounds."""
        if not is_traced(values):
            values = np.asarray(values)[..., None]
        self.problem.check_inside(name, values, np.array([place]), where=where)

    def best_fit(self) -> BestFit:
        """Find the minimum, unless the user has passed it."""
        problem, free_fit = self.problem, self.free_fit
        # A traced fit may depend on numbers that the passed result does not have.
        traced = is_traced(problem.task, problem.numbers)
        if free_fit is not None and not traced and _ends_at(problem, free_fit):
            minimum = free_fit.check()
        else:
            minimum = problem.fit(throw=not traced)
        if minimum.derivatives == NONE:
            raise DerivativeError(
                "nll_fn: a profile needs the gradient of the likelihood, and JAX has "
                "no derivatives of it. Give it a gradient with jax.custom_vjp."
            )
        if minimum.hessian is None:
            raise ArgumentValueError(
                "solver: a profile needs the Hessian of the fit, which NewtonCG leaves "
                "out beyond 1000 parameters. Use solver=TrustRegionNewton()."
            )
        if not knows_curvature(problem.task.solver):
            # Other solvers do not support parameters that are held by a mask.
            task = dataclasses.replace(problem.task, solver=TrustRegionNewton())
            problem = dataclasses.replace(problem, task=task)
        names = tuple(problem.labels[i] for i in np.nonzero(self.held)[0])
        return BestFit(problem, minimum, foothold(problem, minimum), self.held, names)


def pose_profile(
    nll_fn: Any,
    params: Parameters | FitResult | None,
    observation: Any,
    *,
    held: Iterable[str],
    **options: Unpack[FitOptions],
) -> ProfileProblem:
    """Pose a fit.

    Args:
        nll_fn: As in `fit`.
        params: Start values, or the result of the free fit, which is then not
            repeated.
        observation: Data.
        held: Names or patterns (``"alpha*"``) of parameters held at the best fit.
        **options: As in `fit`.
    """
    free_fit = params if isinstance(params, FitResult) else None
    if free_fit is not None and np.ndim(free_fit.nll):
        raise ArgumentValueError(
            "params: a batch of fits has no one minimum. Map over it with jax.vmap."
        )
    state: Any = free_fit.params if free_fit is not None else params
    problem = pose(nll_fn, state, observation, **options)
    return ProfileProblem(problem, free_fit, _held(problem, held))


def _ends_at(problem: Problem, fit: FitResult) -> bool:
    """Return whether a fit had the free parameters and fixed values of a problem."""
    index = np.asarray(problem.numbers.index)
    _, vector, _ = ravel_state(fit.params)
    is_fixed = np.ones(vector.size, bool)
    is_fixed[list(fit.free)] = False
    same = np.array_equal(vector[is_fixed], problem.numbers.vector[is_fixed])
    return same and fit.free == tuple(index[problem.free].tolist())


def confidence(cl: Any) -> float:
    """Check a confidence level and return it."""
    if is_traced(cl) or isinstance(cl, str) or np.ndim(cl):
        raise ArgumentTypeError(
            f"cl: expected one number that is not traced, got {type(cl).__name__}."
        )
    if not 0 < cl < 1:
        raise ArgumentValueError(
            f"cl: expected a confidence level between 0 and 1, got {cl!r}."
        )
    return float(cl)


def _held(problem: Problem, names: Iterable[str]) -> np.ndarray:
    """Return which parameters match the names and patterns of held ones."""
    if isinstance(names, str):
        raise ArgumentTypeError(
            f"held: expected a list of names, got the string {names!r}: [{names!r}]."
        )
    layout = problem.task.layout
    marked = np.zeros(layout.size, bool)
    for name in names:
        marked |= meant_elements(name, layout, where="held").marks
    held = np.zeros(len(problem.labels), bool)
    held[problem.free] = marked[np.asarray(problem.numbers.index)[problem.free]]
    return held
