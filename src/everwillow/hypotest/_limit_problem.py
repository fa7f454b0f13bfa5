r"""The functions whose roots are upper limits: CLs of the data and of Asimov data.

With Asimov data at 0, data that fluctuate by N standard deviations have
:math:`\mathrm{CL_s} = \alpha` where :math:`\sqrt{q_A} = N + \Phi^{-1}(1 - \alpha\,
\Phi(N))`, so the expected limits are roots of :math:`\sqrt{q_A(\mu)}` alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from everwillow._numerics import select
from everwillow.engine.core import Task
from everwillow.engine.outcome import scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.continuation import Foothold, follow_held
from everwillow.hypotest._root_finding import bisect
from everwillow.hypotest.asimov import MADE_BY
from everwillow.hypotest.formulas import qmu_log_cls, qtilde_log_cls
from everwillow.toys.asimov import asimov_data, check_made


# Fluctuations of the data for the expected limits, in the order of the search.
N_SIGMA = (0.0, 1.0, 2.0, -1.0, -2.0)
OBSERVED = len(N_SIGMA)
# How the search for a limit ended, in the order of the members of `LIMIT`.
END_FOUND, END_BEYOND, END_FAILED = range(3)
BISECTIONS = 50


class LimitKind(NamedTuple):
    """Options of limits.

    Attributes:
        predict_fn: From a State to the expected observation; None for the expectation
            of the Model.
        a_posteriori: Whether the Asimov data have the nuisance parameters fitted to
            the data without signal; if not, their start values. An array.
        physical: Whether negative values of the POI are unphysical.
    """

    predict_fn: Any
    a_posteriori: Any
    physical: bool


class LimitRoots(eqx.Module):
    """The result of the search.

    Attributes:
        values: The expected limits in the order of `N_SIGMA`, then the observed one;
            NaN if a limit is beyond the upper bound of the POI, or if a fit failed.
        slopes: The slopes of the functions at these roots.
        ends: How each search ended, one of the ``END_*`` integers of this module.
        failed_at: The POI where a fit failed last in each of them.
        status: How that fit ended, shape ``(limits,)``.
        fits: Number of conditional fits.
        asimov: The fit of the Asimov data.
        zero: The fit of the data without signal.
        possible: Whether the data are possible without signal.
        asimov_observation: The Asimov data.
        deepest: -ln L of the lowest conditional minimum of the data.
        deepest_x: The parameters there.
    """

    values: Float[Array, " limits"]
    slopes: Float[Array, " limits"]
    ends: Any
    failed_at: Any
    status: Any
    fits: Any
    asimov: Foothold
    zero: Foothold
    possible: Any
    asimov_observation: Any
    deepest: Any
    deepest_x: Any


class DataSets(NamedTuple):
    """The data, and the shapes of Asimov data.

    If both have the same shapes the program contains one fit for both. The Asimov data
    of unbinned data are a grid of weighted events; then there is one fit for each.

    Attributes:
        data: The data.
        expected: The shapes of Asimov data.
    """

    data: Any
    expected: Any

    @classmethod
    def of(cls, data: Any, expected: Any) -> "DataSets":
        """Convert both to common dtypes, if they have the same structure."""
        if jax.tree.structure(data) != jax.tree.structure(expected):
            return cls(jax.tree.map(jnp.asarray, data), expected)
        dtypes = jax.tree.map(lambda d, e: jnp.result_type(d, e.dtype), data, expected)
        return cls(
            jax.tree.map(jnp.asarray, data, dtypes),
            jax.tree.map(
                lambda e, t: jax.ShapeDtypeStruct(e.shape, t), expected, dtypes
            ),
        )

    @property
    def blank_asimov(self) -> Any:
        """Asimov data of zeros."""
        return jax.tree.map(lambda e: jnp.zeros(e.shape, e.dtype), self.expected)

    def asimov(self, made: Any) -> Any:
        """Return Asimov data with their dtypes."""
        return jax.tree.map(lambda a, e: jnp.asarray(a, e.dtype), made, self.expected)

    def apply(self, fit: Callable[[Any], Any], on_data: Array, asimov: Any) -> Any:
        """Return the fit of one of the two."""
        leaves, structure = jax.tree.flatten(self.data)
        others, other_structure = jax.tree.flatten(self.expected)
        shapes, other_shapes = ([x.shape for x in of] for of in (leaves, others))
        if (structure, shapes) == (other_structure, other_shapes):
            return fit(select(on_data, self.data, asimov))
        return jax.lax.cond(on_data, lambda: fit(self.data), lambda: fit(asimov))


def standard_error(hessian: Array, mask: Array, place: Array) -> Array:
    """Return the standard error of the POI, NaN without curvature."""
    free = mask.at[place].set(True) & (jnp.diagonal(hessian) > 0)
    solve, _ = scaled_solver(hessian, free)
    variance = solve(jnp.zeros(free.shape, hessian.dtype).at[place].set(1))[place]
    usable = free[place] & jnp.isfinite(variance) & (variance > 0)
    return jnp.where(usable, jnp.sqrt(jnp.abs(variance)), jnp.nan)


class LimitProblem(NamedTuple):
    """The constants of a search for limits, and functions of them.

    Attributes:
        task: The structure of the fit.
        numbers: Its arguments, with the data.
        base: The free fit of the data.
        place: The position of the POI.
        level: The CLs of a limit.
        kind: The options of limits.
        sigma: The standard error of the POI.
        root_q_asimov: The square root of q_A at each expected limit.
    """

    task: Task
    numbers: Numbers
    base: Foothold
    place: Array
    level: Array
    kind: LimitKind
    sigma: Array
    root_q_asimov: Array

    @classmethod
    def of(
        cls,
        task: Task,
        numbers: Numbers,
        base: Foothold,
        place: Array,
        level: Array,
        kind: LimitKind,
    ) -> "LimitProblem":
        """Add the standard error of the POI and the roots of q_A."""
        sigma = standard_error(base.hessian, jnp.asarray(numbers.mask), place)
        n_sigma = jnp.asarray(N_SIGMA, base.x.dtype)
        root_q_asimov = n_sigma - ndtri(level * ndtr(n_sigma))
        return cls(task, numbers, base, place, level, kind, sigma, root_q_asimov)

    def data_sets(self) -> DataSets:
        """Return the data, and the shapes of the Asimov data.

        Raises:
            ShapeMismatchError: If Asimov data cannot take the place of the data.
        """
        data = self.numbers.observation

        def checked(x: Array) -> Any:
            made = self.make_asimov(x)
            check_made(made, data, MADE_BY)
            return made

        return DataSets.of(data, jax.eval_shape(checked, self.base.x))

    def make_asimov(self, x: Array) -> Any:
        """Return the Asimov data of some parameters."""
        vector = self.numbers.at(x).vector
        state = self.task.layout.state(vector, self.numbers.others)
        return asimov_data(self.task.objective, state, predict_fn=self.kind.predict_fn)

    def asimov_point(self, zero: Foothold) -> Array:
        """Return the parameters of the Asimov data."""
        x = jnp.where(self.kind.a_posteriori, zero.x, self.task.start(self.numbers))
        return x.at[self.place].set(0.0)

    def excess(self, q: Array, q_asimov: Array) -> Array:
        """Return ln(level / CLs), which grows with the POI."""
        log_cls = qtilde_log_cls if self.kind.physical else qmu_log_cls
        return jnp.log(self.level) - log_cls(q, q_asimov)

    def reference(self, zero: Foothold, free: Array) -> Array:
        """Return the reference minimum of -ln L of the data."""
        return jnp.where(self.unphysical(), zero.value, free)

    def unphysical(self) -> Array:
        """Return whether the best fit is negative and unphysical."""
        return (self.base.x[self.place] < 0) & self.kind.physical

    def knows_reference(self, possible: Array) -> Array:
        """Return whether there is a reference minimum of the data."""
        return jnp.where(self.unphysical(), possible, self.base.success)

    def upper(self) -> Array:
        """Return the upper bound of the POI."""
        if self.numbers.upper is None:
            return jnp.asarray(jnp.inf, self.base.x.dtype)
        return jnp.asarray(self.numbers.upper)[self.place]

    def beginning(self, last: Foothold) -> Foothold:
        """Return a foothold at the start values."""
        return dataclasses.replace(
            last,
            x=self.task.start(self.numbers),
            hessian=jnp.eye(last.x.size, dtype=last.x.dtype),
            at_bound=jnp.zeros_like(last.at_bound),
            success=jnp.asarray(False),
        )

    def conditions(self, out: LimitRoots) -> Array:
        """Return the functions that vanish at the limits, differentiable in numbers."""
        fixed = jax.lax.stop_gradient(out)
        held = jnp.zeros(self.base.x.shape, bool).at[self.place].set(True)

        data = self.data_sets()

        def at(on_data, mu, last, asimov):
            def value(observation):
                numbers = dataclasses.replace(self.numbers, observation=observation)
                return follow_held(self.task, numbers, last, held, mu)

            return data.apply(value, on_data, asimov).value

        numbers = dataclasses.replace(self.numbers, observation=data.data)
        zero = follow_held(
            self.task, numbers, fixed.zero, held, jnp.zeros_like(self.base.x)
        )
        asimov = data.asimov(self.make_asimov(self.asimov_point(zero)))
        with_asimov = dataclasses.replace(self.numbers, observation=asimov)
        best = self.task.value(with_asimov, fixed.asimov.x)
        reference = self.reference(zero, self.task.value(numbers, self.base.x))

        def one(job):
            mu, on_data = job
            last = select(on_data, fixed.zero, fixed.asimov)
            return at(on_data, mu, last, asimov)

        mus = jnp.append(fixed.values, fixed.values[OBSERVED])
        on_data = jnp.arange(OBSERVED + 2) > OBSERVED
        values = jax.lax.map(one, (mus, on_data))
        q_asimov = 2 * (values[: OBSERVED + 1] - best)
        q = 2 * (values[OBSERVED + 1] - reference)
        expected = jnp.sqrt(q_asimov[:OBSERVED]) - self.root_q_asimov
        return jnp.append(expected, self.excess(q, q_asimov[OBSERVED]))


def root_of_parabola(
    excess: Callable[[Array, Array], Array],
    *,
    best: Array,
    sigma: Array,
    slope: Array,
    scale: Array,
) -> Array:
    """Return the observed limit for a parabolic -ln L, by bisection.

    Args:
        excess: A function of the test statistics of the data and of the Asimov data
            that grows with the POI and vanishes at the limit.
        best: The best fit of the POI.
        sigma: Its standard error.
        slope: The slope of the profile at 0, which is used if `best` is not above 0.
        scale: The root of the test statistic of the Asimov data, divided by the POI.
    """

    def at(mu: Array) -> Array:
        below = 2 * slope * mu + (mu / sigma) ** 2
        q = jnp.where(best > 0, ((mu - best) / sigma) ** 2, below)
        return excess(jnp.maximum(q, 0), (scale * mu) ** 2)

    low = jnp.maximum(best, 0)
    high = low + 5 * jnp.maximum(sigma, 1 / jnp.abs(scale))
    return bisect(lambda mu: at(mu) > 0, low, high, count=BISECTIONS)
