"""The templates of some bins, with the variances of their simulated samples."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.barlow_beeston import BinStatistics
from everwillow.likelihood.templates.arrays import TemplateArrays
from everwillow.likelihood.templates.spec import TemplateSpec


class Bins(eqx.Module):
    """The templates of some bins, with the variances of their simulated samples.

    Attributes:
        arrays: The templates.
        statistics: Variances of the samples.
    """

    arrays: TemplateArrays
    statistics: BinStatistics

    def rows(
        self, rates: Float[Array, "processes all"], theta: Array
    ) -> Float[Array, "bins slots"]:
        """Return the yields of the slots at nominal β.

        Args:
            rates: The rates that multiply the templates, for all bins of the fit.
            theta: The values of the systematics.
        """
        return self.arrays.yields(self.arrays.gathered(rates), theta)

    def by_process(
        self, rows: Float[Array, "bins slots"], beta: Array, processes: int
    ) -> Float[Array, "processes bins"]:
        """Return the yields of all processes.

        Args:
            rows: The yields of the slots.
            beta: The auxiliary parameters of the samples.
            processes: The number of processes.
        """
        return self.arrays.scattered(self.statistics.moved(rows, beta), processes)


class Links(eqx.Module):
    """Effects of fluctuations of the samples in fitted bins on masked ones.

    Attributes:
        process: The process of each entry.
        source: The fitted bin.
        target: The masked bin, counted from the first masked one.
        change: The change of the nominal yield of the masked bin if that of the fitted
            bin doubles.
        nominal: The nominal yield of the masked bin; there is no effect if it is 0.
    """

    process: Int[Array | np.ndarray, " entries"]
    source: Int[Array | np.ndarray, " entries"]
    target: Int[Array | np.ndarray, " entries"]
    change: Float[Array | np.ndarray, " entries"]
    nominal: Float[Array | np.ndarray, " entries"]

    def moved(
        self,
        masked: Float[Array, "processes masked"],
        moved: Float[Array, "processes fitted"],
        bare: Float[Array, "processes fitted"],
    ) -> Float[Array, "processes masked"]:
        """Return the masked yields, from the fitted ones with and without fluctuations.

        The sample fluctuates, so that rates and systematics of the masked bins apply to
        the change as they do to the nominal yield.
        """
        before = bare[self.process, self.source]
        after = moved[self.process, self.source]
        ratio = jnp.where(before != 0, after / jnp.where(before != 0, before, 1), 1)
        filled = jnp.asarray(self.nominal) != 0
        share = jnp.where(filled, self.change / jnp.where(filled, self.nominal, 1), 0)
        yields = masked[self.process, self.target]
        return masked.at[self.process, self.target].add(yields * share * (ratio - 1))


def fluctuating(statistics: BinStatistics) -> Int[np.ndarray, " n"]:
    """Return which β, flattened, have a variance."""
    return np.flatnonzero(np.asarray(statistics.spread) > 0).astype(np.int32)


def links_of(spec: TemplateSpec) -> Links | None:
    """Return the effects of fluctuations on masked bins, None without any."""
    variations, rows = spec.beta_variations, spec.templates
    if variations is None:
        return None
    count = len(spec.layout.processes)
    key = rows.bin.astype(np.int64) * count + rows.process
    entries = variations.target.astype(np.int64) * count + variations.process
    place = np.minimum(np.searchsorted(key, entries), len(key) - 1)
    nominal = np.where(key[place] == entries, rows.nominal[place], 0.0)
    target = variations.target - spec.layout.fitted
    return Links(
        variations.process, variations.source, target, variations.change, nominal
    )
