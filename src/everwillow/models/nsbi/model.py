"""Models of binned and unbinned regions, made from an `NsbiSpec`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from everwillow._errors import unknown_key
from everwillow._typing import Array, Key, Scalar
from everwillow.likelihood.binned.packing import pack as pack_bins
from everwillow.likelihood.binned.places import PlaceTable
from everwillow.likelihood.binned.spec import BinnedSpec, ChannelSpec, SampleSpec
from everwillow.model import AbstractModel
from everwillow.models._model_parts import Uncompared
from everwillow.models.binned import BinnedModel
from everwillow.models.nsbi.likelihood import memory
from everwillow.models.nsbi.likelihood.flat import FlatNsbi
from everwillow.models.nsbi.likelihood.packing import pack
from everwillow.models.nsbi.spec import Events, NsbiSpec, UnbinnedRegion
from everwillow.objective import Evaluation
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable
from everwillow.statelib import State


Storage: TypeAlias = Literal["float64", "float32"]


# More methods than usual: most of them are those of every Model.
@final
class NsbiModel(AbstractModel):
    r"""A likelihood of binned channels and of events with density ratios.

    The main data are a dictionary: ``"counts"`` of all bins, channel after channel, and
    ``"weights"``, one number for each event of the unbinned regions, region after
    region: first the observed events, then those of the reference sample, if the region
    has one of its own. The latter have weight 0 in the observed data, and the former in
    Asimov data and toys, so that all data sets have the same length.

    With the yields :math:`F_c` of the samples, the densities over the reference density
    :math:`R_{ci}(\alpha)` and their normalisations :math:`Z_c(\alpha)`, an unbinned
    region adds :math:`\sum_c F_c - \sum_i w_i \ln \sum_c F_c R_{ci} / Z_c` to -ln L.

    Attributes:
        terms: The likelihood of counts and events, packed.
        poi: The key of the parameter of interest, or None.
        channels: The name and the number of bins of each binned channel.
        regions: The name of each unbinned region, the number of its observed events,
            and that of its reference events (0 if the observed ones serve as these).
        samples: The names of the samples of each unbinned region.
        uncompared_spec: The specification; models of one structure may differ in it.
    """

    state: State
    bounds: BoundTable
    fixed: dict[Key, Any]
    constraints: ConstraintTable
    observation: dict[str, Any]
    terms: FlatNsbi
    poi: Key | None = eqx.field(static=True)
    channels: tuple[tuple[str, int], ...] = eqx.field(static=True)
    regions: tuple[tuple[str, int, int], ...] = eqx.field(static=True)
    samples: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    uncompared_spec: Uncompared = eqx.field(static=True)

    @classmethod
    def from_spec(
        cls, spec: NsbiSpec, *, normalize: bool = True, storage: Storage = "float64"
    ) -> "NsbiModel":
        """Compile a specification into arrays.

        Args:
            spec: The specification.
            normalize: Whether the densities, changed by nuisance parameters, are
                divided by their normalisation, estimated from the reference sample.
            storage: The dtype of densities in memory; all sums are in the dtype of the
                parameters.

        Raises:
            UnknownKeyError: If the parameter of an effect does not exist.
            ShapeMismatchError: If lengths do not agree.
        """
        regions, channels = spec.unbinned, spec.binned.channels
        rates = [
            ChannelSpec(region.name, np.zeros(1), _components(region))
            for region in regions
        ]
        binned = BinnedModel.from_spec(
            dataclasses.replace(spec.binned, channels=(*channels, *rates))
        )
        terms = FlatNsbi(
            binned=binned.terms,
            yields=None,
            events=None,
            normalize=normalize,
            bins=sum(channel.observed.size for channel in channels),
        )
        if regions:
            terms = _with_events(terms, spec, _places(binned, spec.binned), storage)
        counts = np.concatenate(
            [np.zeros(0), *(np.asarray(c.observed, float) for c in channels)]
        )
        return cls(
            state=binned.state,
            bounds=_table(binned),
            fixed=binned.fixed,
            constraints=binned.constraints,
            observation={
                "main": {
                    "counts": counts,
                    "weights": jnp.asarray(_observed_weights(regions)),
                },
                "aux": binned.observation["aux"],
            },
            terms=terms,
            poi=spec.binned.poi,
            channels=tuple((c.name, c.observed.size) for c in channels),
            regions=tuple(
                (r.name, r.events.weights.size, _reference_size(r)) for r in regions
            ),
            samples=tuple(tuple(s.name for s in r.samples) for r in regions),
            uncompared_spec=Uncompared(spec),
        )

    @property
    def spec(self) -> NsbiSpec | None:
        """The specification of the model."""
        return self.uncompared_spec.content

    @property
    def report(self) -> tuple[str, ...]:
        """Assumptions and normalisations of the reader of a file, one sentence each."""
        return () if self.spec is None else self.spec.binned.report

    @property
    def bounds_are_ranges(self) -> bool:
        """Whether bounds are ranges for fits only; those of workspaces are."""
        return True

    @property
    def flat_main(self) -> FlatNsbi:
        """The main likelihood as a function of vectors."""
        return self.terms

    @property
    def bin_labels(self) -> dict[str, Any]:
        """The name of each bin: ``"CR[0]"``; the weights of events are no bins."""
        bins = [f"{name}[{i}]" for name, count in self.channels for i in range(count)]
        return {"counts": bins}

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of counts and events, without constraints."""
        return self.terms.nll(ravel_pytree(params)[0], main)

    def main_curvature(self, params: Any, main: Any) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        return self.terms.evaluation(ravel_pytree(params)[0], main)

    def expected(self, params: Any) -> dict[str, Array]:
        """Return the Asimov data: expected counts, and weights of reference events."""
        vector = ravel_pytree(params)[0]
        return {
            "counts": self.terms.expected_counts(vector),
            "weights": self.terms.expected_weights(vector),
        }

    def sample(self, params: Any, key: Array) -> dict[str, Array]:
        """Draw counts, and how often each reference event occurs.

        An event of negative weight occurs with the weight -1, so that sums of weights
        have the right mean.
        """
        counts_key, events_key = jr.split(key)
        rates = self.expected(params)

        def drawn(one: Array, rate: Array) -> Array:
            times = jr.poisson(one, jnp.abs(rate), rate.shape).astype(rate.dtype)
            return jnp.where(rate < 0, -times, times)

        return {
            "counts": drawn(counts_key, rates["counts"].clip(0)),
            "weights": drawn(events_key, rates["weights"]),
        }

    def events_of(self, region: str) -> slice:
        """Return the slice of a region in the weights of the main data.

        Raises:
            UnknownKeyError: If there is no such unbinned region.
        """
        start = 0
        for name, *counts in self.regions:
            if name == region:
                return slice(start, start + sum(counts))
            start += sum(counts)
        names = [name for name, *_ in self.regions]
        raise unknown_key(region, names, where="events_of", kind="unbinned region")

    def with_events(self, events: Mapping[str, Events]) -> "NsbiModel":
        """Return the model with other observed events.

        Simulated events that were the observed ones, as in an Asimov data set, remain
        as reference sample.

        Args:
            events: By unbinned region the events, with the ratios of all samples and
                the changes that the model has.

        Raises:
            UnknownKeyError: If there is no such unbinned region.
        """
        spec = self.spec
        assert spec is not None
        for name in events:
            self.events_of(name)
        regions = tuple(
            dataclasses.replace(
                region,
                events=events[region.name],
                reference=region.simulated,
                reference_density="reference"
                if region.from_reference_density
                else "nominal",
            )
            if region.name in events
            else region
            for region in spec.unbinned
        )
        table = self.terms.events
        storage: Any = "float64" if table is None else str(table.ratios.dtype)
        return NsbiModel.from_spec(
            dataclasses.replace(spec, unbinned=regions),
            normalize=self.terms.normalize,
            storage=storage,
        )

    def expected_yields(self, params: Any) -> dict[tuple[str, str], Array]:
        """Return the expected number of events by unbinned region and sample.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
        """
        tree = params.to_pytree() if isinstance(params, State) else params
        yields = self.terms.component_yields(ravel_pytree(tree)[0])
        keys = [
            (region[0], sample)
            for region, samples in zip(self.regions, self.samples, strict=True)
            for sample in samples
        ]
        return dict(zip(keys, yields, strict=True))

    def with_reference_weights(
        self, weights: Mapping[str, Float[np.ndarray, " n"]]
    ) -> "NsbiModel":
        """Return the model with other weights of reference events.

        Args:
            weights: By region one weight for each reference event, with sum 1.

        Raises:
            UnknownKeyError: If there is no such unbinned region.
        """
        table = self.terms.events
        if table is None or not weights:
            return self
        chunks, _, size = table.ratios.shape
        place = np.asarray(table.event_place)
        flat = np.zeros(chunks * size)
        flat[place] = self._reference_weights(weights)
        changed = flat.reshape(chunks, size)[table.first_reference :]
        return eqx.tree_at(
            lambda model: model.terms.events.reference,
            self,
            memory.on_devices(np.ascontiguousarray(changed)),
        )

    def _reference_weights(
        self, weights: Mapping[str, Float[np.ndarray, " n"]]
    ) -> Float[np.ndarray, " events"]:
        """Return weights by region, and the present ones of other regions."""
        table = self.terms.events
        assert table is not None
        first = table.first_reference
        present = np.zeros(table.ratios.shape[0] * table.ratios.shape[-1])
        present[first * table.ratios.shape[-1] :] = np.ravel(table.reference)
        values = present[np.asarray(table.event_place)]
        for region, given in weights.items():
            place = self.events_of(region)
            values[place.stop - np.size(given) : place.stop] = given
        return values

    def bins_of(self, channel: str) -> slice:
        """Return the slice of a channel in the counts of the main data.

        Raises:
            UnknownKeyError: If there is no such binned channel.
        """
        start = 0
        for name, bins in self.channels:
            if name == channel:
                return slice(start, start + bins)
            start += bins
        names = [name for name, _ in self.channels]
        raise unknown_key(channel, names, where="bins_of", kind="channel")

    def __repr__(self) -> str:
        """Return one line with the numbers of channels, events and parameters."""
        bins = sum(count for _, count in self.channels)
        events = sum(count for _, count, _ in self.regions)
        return (
            f"NsbiModel({len(self.channels)} channels, {bins} bins, "
            f"{len(self.regions)} unbinned regions, {events} events, "
            f"{self.terms.size} parameters, poi={self.poi!r})"
        )


def _with_events(
    terms: FlatNsbi, spec: NsbiSpec, table: PlaceTable, storage: Storage
) -> FlatNsbi:
    """Add the events of the unbinned regions to a likelihood of counts."""
    single = tuple(
        ChannelSpec(region.name, np.zeros(1), (sample,))
        for region in spec.unbinned
        for sample in _components(region)
    )
    yields, _ = pack_bins(dataclasses.replace(spec.binned, channels=single), table)
    places = {
        name: table.scalar(name)
        for region in spec.unbinned
        for _, name in region.events.variations
    }
    events = pack(spec, places, storage=storage)
    return dataclasses.replace(terms, yields=yields, events=events)


def _components(region: UnbinnedRegion) -> tuple[SampleSpec, ...]:
    return tuple(
        SampleSpec(sample.name, np.array([float(sample.expected)]), sample.effects)
        for sample in region.samples
    )


def _table(model: BinnedModel) -> BoundTable:
    assert isinstance(model.bounds, BoundTable)
    return model.bounds


def _places(model: BinnedModel, spec: BinnedSpec) -> PlaceTable:
    """Return the places of the parameters in the vector of a model."""
    layout = _table(model).layout
    shapes = {str(key): np.shape(value) for key, value in model.state.items()}
    starts = dict(zip(shapes, layout.starts, strict=True))
    return PlaceTable(starts, shapes, spec.derived)


def _reference_size(region: UnbinnedRegion) -> int:
    return 0 if region.reference is None else region.reference.weights.size


def _observed_weights(
    regions: tuple[UnbinnedRegion, ...],
) -> Float[np.ndarray, " events"]:
    parts = [np.zeros(0)]
    for region in regions:
        parts += [region.events.weights, np.zeros(_reference_size(region))]
    return np.concatenate(parts)
