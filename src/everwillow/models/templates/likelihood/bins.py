"""The templates of some bins, together with the samples behind them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.barlow_beeston import BinStatistics
from everwillow.likelihood.templates.arrays import TemplateArrays
from everwillow.likelihood.templates.spec import TemplateSpec


class Bins(eqx.Module):
    """The templates of some bins, and the samples behind them.

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
            rates: The rates that multiply the templates, of the bins of the whole fit.
            theta: The systematics.
        """
        return self.arrays.yields(self.arrays.gathered(rates), theta)

    def by_process(
        self, rows: Float[Array, "bins slots"], beta: Array, processes: int
    ) -> Float[Array, "processes bins"]:
        """Return the yields of all processes.

        Args:
            rows: Those of the slots.
            beta: The auxiliary parameters of the samples.
            processes: How many there are.
        """
        return self.arrays.scattered(self.statistics.moved(rows, beta), processes)


class Links(eqx.Module):
    """How fluctuations of the samples of fitted bins move masked ones.

    Attributes:
        process: The process of each entry.
        source: Its fitted bin.
        target: Its masked bin, the first of these being 0.
        change: What its nominal yield changes by if that of the source doubles.
        nominal: This nominal yield; where it is 0 nothing changes.
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
        """Return the masked yields, given the fitted ones with and without.

        What moves is the sample, so that rates and systematics of the masked bins act
        on the change as they do on the nominal yield.
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
    """Return how fluctuations move masked bins, None if they do not."""
    found, rows = spec.beta_variations, spec.templates
    if found is None:
        return None
    count = len(spec.layout.processes)
    key = rows.bin.astype(np.int64) * count + rows.process
    wanted = found.target.astype(np.int64) * count + found.process
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    nominal = np.where(key[place] == wanted, rows.nominal[place], 0.0)
    target = found.target - spec.layout.fitted
    return Links(found.process, found.source, target, found.change, nominal)
