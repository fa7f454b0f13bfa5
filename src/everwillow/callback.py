"""Callbacks of `ifit`: their protocol, and one that records -ln L."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from everwillow._errors import ArgumentTypeError
from everwillow._lazy_names import own_names
from everwillow._typing import ArrayLike
from everwillow.statelib import State


@runtime_checkable
class Callback(Protocol):
    """A function that `ifit` calls after each step, with these three arguments.

    Its return value is ignored. An exception ends the fit and reaches the caller of
    `ifit`; the checkpoint of the step is already on disk then.
    """

    def __call__(self, iteration: int, y: State, state: Any, /) -> object:
        """Receive a step.

        Args:
            iteration: 0 after the first step, in which most solvers (except `NewtonCG`
                and `OptaxMinimiser`) only evaluate the start point.
            y: The best parameters so far, in physical units, fixed ones included.
            state: The state of the solver, with -ln L as ``nll`` (see `nll_of`);
                `TrustRegionNewton` and `NewtonCG` have ``edm``, too.
        """
        ...


class HistoryCallback:
    """Record -ln L after each step.

    When a fit continues from a checkpoint, it records only the steps that follow.

    Args:
        value: Function of a State that returns -ln L, for a solver whose state does
            not have it (see `nll_of`) or has that of another point.

    Attributes:
        steps: Number of each iteration seen.
        nlls: -ln L at each of them.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.fitting import ifit
        >>> def nll(params, data):
        ...     return 0.5 * (params["mu"] - data) ** 2
        >>> history = HistoryCallback()
        >>> state = ew.State.from_pytree({"mu": 1.0})
        >>> result = ifit(nll, state, 3.0, callbacks=[history])
        >>> history.steps[0], history.nlls[0]
        (0, 2.0)
    """

    steps: list[int]
    nlls: list[float]

    def __init__(self, value: Callable[[State], ArrayLike] | None = None) -> None:
        self.steps = []
        self.nlls = []
        self._value = value

    def __call__(self, iteration: int, y: State, state: Any) -> None:
        """Append one step."""
        value = nll_of(state) if self._value is None else self._value(y)
        self.steps.append(iteration)
        self.nlls.append(float(value))  # pyright: ignore[reportArgumentType]

    def __repr__(self) -> str:
        last = f", nll={self.nlls[-1]:.10g}" if self.nlls else ""
        return f"HistoryCallback({len(self.steps)} steps{last})"


def nll_of(state: Any) -> float:
    """Return -ln L at the best point, from the state of a solver.

    Supported are the solvers of this package and those of optimistix: quasi-Newton and
    gradient methods, `BestSoFarMinimiser`, `NelderMead` and `OptaxMinimiser` (whose
    value is that of the point before the last move).

    Args:
        state: The state that `ifit` passes to its callbacks.

    Raises:
        ArgumentTypeError: If the state has no such value.
    """
    for value_of in _VALUES:
        try:
            value = value_of(state)
        except (AttributeError, IndexError, KeyError, TypeError):
            continue
        return float(value)
    raise ArgumentTypeError(
        f"state: a {type(state).__name__} does not say what -ln L is. Compute it from "
        f"the parameters instead, for example with "
        f"HistoryCallback(value=lambda y: nll(y.to_pytree(), observation))."
    )


_VALUES: tuple[Callable[[Any], Any], ...] = (
    lambda state: state.nll,
    lambda state: state.best_loss,
    lambda state: state.f_info.f,
    lambda state: state.best[0],
    lambda state: state.f,
)


__dir__ = own_names(globals())
