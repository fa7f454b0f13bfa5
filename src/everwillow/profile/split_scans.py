"""Profile likelihoods with and without systematic uncertainties."""

from collections.abc import Iterable
from typing import Any, Unpack

import equinox as eqx
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._html import html_of
from everwillow._numerics import is_traced
from everwillow._typing import Key
from everwillow.engine.names import meant_elements, named_elements
from everwillow.engine.prefit import constrained_elements
from everwillow.fitting import FitResult
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.profile.scans import ScanResult, scan, table_of_scans
from everwillow.statelib.state import Parameters


class SplitScan(eqx.Module):
    """The profile likelihood of a parameter with and without systematics.

    Attributes:
        total: The profile in which all parameters are fitted.
        statistical: The profile with the systematic parameters held at the best fit,
            which is that of `total`.
    """

    total: ScanResult
    statistical: ScanResult

    def __repr__(self) -> str:
        """Return two lines, one for each profile."""
        held = ", ".join(self.statistical.held)
        return f"{self.total!r}\n{self.statistical!r}, without {held}"

    def _repr_html_(self) -> str:
        """Return a table of the points for notebooks."""
        lines = repr(self).split("\n")
        if is_traced(self) or np.ndim(self.total.values) != 1:
            return html_of(lines)
        scans = {"2 Δ(-ln L)": self.total, "without systematics": self.statistical}
        return html_of([table_of_scans(scans), *lines])


@takes_options(FitOptions)
def scan_split(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    name: Key,
    values: Any,
    systematic: Iterable[str] | None = None,
    starts: int = 0,
    **options: Unpack[FitOptions],
) -> SplitScan:
    """Profile -ln L in one parameter, with and without systematic uncertainties.

    Both profiles share the free fit and the compiled program. If the first reveals a
    lower minimum, the systematic parameters of the second are held there.

    Args:
        nll_fn: As in `scan`; likewise what is not listed here.
        params: As in `scan`.
        observation: As in `scan`.
        name: As in `scan`.
        values: As in `scan`.
        systematic: Names or patterns of the systematic parameters; by default all that
            have a constraint. The parameter that is scanned is left out.
        starts: As in `scan`, for both profiles.
        **options: As in `scan`.

    Raises:
        ArgumentValueError: If there is no systematic parameter that is fitted.
        EverwillowError: As `scan`.

    Warns:
        UserWarning: As `scan`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["theta"]) / 3.0) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> result = scan_split(model, name="mu", values=[0.0, 10.0])
        >>> print(result.total.twice_delta_nll.round(3))
        [1. 1.]
        >>> print(result.statistical.twice_delta_nll.round(3))
        [2.778 2.778]
    """
    total = scan(
        nll_fn,
        params,
        observation,
        name=name,
        values=values,
        starts=starts,
        **options,
    )
    if is_traced(total.nll):
        raise ArgumentTypeError(
            "scan_split chooses parameters by their constraints, outside of JAX "
            "transformations. Inside, call scan twice, once with `held`."
        )
    statistical = scan(
        nll_fn,
        total.minimum,
        observation,
        name=name,
        values=values,
        starts=starts,
        held=_held(total.minimum, systematic, name),
        **options,
    )
    return SplitScan(total, statistical)


def _held(
    minimum: FitResult, systematic: Iterable[str] | None, name: Key
) -> tuple[str, ...]:
    """Return the labels of the systematic parameters that are fitted."""
    layout = minimum.layout
    marked = np.zeros(layout.size, bool)
    if systematic is None:
        for known, constraint in minimum.constraints.items():
            marked[constrained_elements(known, constraint, layout)] = True
    else:
        names = [systematic] if isinstance(systematic, str) else systematic
        for one in names:
            marked |= meant_elements(one, layout, where="systematic").marks
    marked[named_elements(name, layout)] = False
    held = tuple(layout.labels[i] for i in minimum.free if marked[i])
    if not held:
        raise ArgumentValueError(
            "systematic: no parameter with a constraint is fitted. Name the systematic "
            "parameters."
            if systematic is None
            else "systematic: none of these parameters is fitted, besides the one that "
            "is scanned."
        )
    return held
