"""Responses and resolutions by category, with their errors."""

import dataclasses
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Float

from everwillow._html import Table, html_of
from everwillow._rounding import with_error
from everwillow.models.scale_smearing.categories import Categories


FITTED = "fitted"
AT_BOUND = "smearing at zero"
NO_REGION = "no region"
UNDETERMINED = "not determined"
FAILED = "fit failed"


@final
@dataclasses.dataclass(frozen=True)
class SasParameters:
    r"""The response and the resolution of each category.

    Arrays have the shape ``(categories,)``. They are NaN in a category without a
    number, and errors are NaN where there is none.

    Attributes:
        categories: The categories.
        resp: Response: energy in data over energy in simulation. Data are corrected by
            ``1 / resp``.
        reso: Relative width by which energies in simulation are smeared, >= 0.
        eresp: Error of `resp`: all sources in quadrature.
        ereso: Error of `reso`.
        eresp_mc: The part of `eresp` from the limited number of simulated events.
        ereso_mc: The same part of `ereso`.
        status: For each category ``"fitted"``, ``"smearing at zero"``, ``"no region"``,
            ``"not determined"`` or ``"fit failed"``.
        reso_upper: Where the smearing is zero, the end of its one-sided interval at
            68.3 %; NaN elsewhere. See `reso_interval` for all.
        resp_bias: The estimated mean shift of `resp` by the noise of templates, which
            is not subtracted; None if it was not computed.
        reso_bias: The same shift of `reso`: a wider smearing lessens the noise.
        pt_mean: The mean transverse momentum of each bin of ``pt``, or None.
        covariance: Covariance of `resp`, then `reso`, shape ``(2 categories, 2
            categories)``: all sources with their correlations. NaN where there is no
            number. None if errors were not computed.
        covariances: Its parts by source: ``"stat"``, ``"mc"``, ``"flat"`` and the names
            of systematics.
        double: Parameters of a double Gaussian by name: ``reso2``, ``mu``, ``frac``,
            with errors ``ereso2``, ..., ``ereso2_mc``, ..., and ``mean2G``, ``std2G``.
        nll: -ln L at the minimum, or None.
        edm: The estimated distance to the minimum, or None.
        success: Whether the fit ended at a minimum, or None if it is not known.
        message: How the fit ended, in words.
        origin: What else the file says: seed, version, configuration, numbers of
            events.
    """

    categories: Categories
    resp: Float[np.ndarray, " categories"]
    reso: Float[np.ndarray, " categories"]
    eresp: Float[np.ndarray, " categories"]
    ereso: Float[np.ndarray, " categories"]
    eresp_mc: Float[np.ndarray, " categories"]
    ereso_mc: Float[np.ndarray, " categories"]
    status: tuple[str, ...]
    reso_upper: Float[np.ndarray, " categories"]
    resp_bias: Float[np.ndarray, " categories"] | None = None
    reso_bias: Float[np.ndarray, " categories"] | None = None
    pt_mean: Float[np.ndarray, " bins"] | None = None
    covariance: Float[np.ndarray, "twice twice"] | None = None
    covariances: Mapping[str, Float[np.ndarray, "twice twice"]] = dataclasses.field(
        default_factory=dict
    )
    double: Mapping[str, Float[np.ndarray, " categories"]] = dataclasses.field(
        default_factory=dict
    )
    nll: float | None = None
    edm: float | None = None
    success: bool | None = None
    message: str = ""
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Return the response and the resolution of each category for notebooks."""
        names = self.categories.labels()
        rows = [
            (
                name,
                *with_error(float(self.resp[i]), float(self.eresp[i])),
                *with_error(float(self.reso[i]), float(self.ereso[i])),
                self.status[i],
            )
            for i, name in enumerate(names)
        ]
        heads = ("category", "resp", "error", "reso", "error", "status")
        return html_of(
            [Table([heads, *rows]), *([self.message] if self.message else [])]
        )

    def reso_interval(
        self,
    ) -> tuple[Float[np.ndarray, " categories"], Float[np.ndarray, " categories"]]:
        r"""Return the ends of the intervals of `reso` at 68.3 %.

        The fitted parameter is the square v of a resolution s, whose error is
        :math:`2 s` times that of s. The ends are the roots of :math:`v \pm \Delta v`:
        about s plus and minus its error, except that the lower one is 0 if v is not
        larger than its error. Where the smearing is zero the interval is one-sided. NaN
        where there is no error.
        """
        square, error = self.reso**2, 2 * self.reso * self.ereso
        at_zero = np.isfinite(self.reso_upper)
        low = np.where(at_zero, 0.0, np.sqrt(np.clip(square - error, 0, None)))
        return low, np.where(at_zero, self.reso_upper, np.sqrt(square + error))

    def values(self, parameter: str) -> Float[np.ndarray, " categories"]:
        """Return an array by name: ``"resp"``, ``"ereso"``, ``"mu"``, ..."""
        given = self.double.get(parameter)
        return np.asarray(getattr(self, parameter) if given is None else given)
