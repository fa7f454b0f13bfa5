"""Regions from events: which combinations of categories are fitted, and their bins.

The events of a sample are sorted once by region, so the time grows with their number
and not with that of the regions.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from everwillow._errors import ArgumentTypeError, ArgumentValueError, unknown_key
from everwillow.models.scale_smearing.binning import (
    Binning,
    check_binning,
    data_edges,
    template_edges,
)
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import (
    FITTED,
    NO_REGION,
    UNDETERMINED,
)
from everwillow.models.scale_smearing.spec import Region, SasSpec


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """How regions are made of events.

    Attributes:
        suffixes: The suffixes of the columns of the leptons with a response.
        mass: The column of the mass.
        weight: The column of the weights of simulated events, or None.
        data_window: The range of masses in data, both ends included.
        simulation_window: The range of simulated masses.
        min_data: A region is fitted if it has more events in data.
        min_simulation: A region is fitted if it has more simulated events.
        data_bins: How data are binned: see `data_edges`.
        template_width: The width of the bins of simulated masses, in GeV.

    Raises:
        ArgumentValueError: If a window is not in order, the window of simulation does
            not contain that of data, or a width is not positive.
    """

    suffixes: tuple[str, ...] = ("1", "2")
    mass: str = "mass"
    weight: str | None = None
    data_window: tuple[float, float] = (70.0, 110.0)
    simulation_window: tuple[float, float] = (50.0, 130.0)
    min_data: int = 10
    min_simulation: int = 100
    data_bins: Binning = "Q"
    template_width: float = 0.1

    def __post_init__(self) -> None:
        check_binning(self.data_bins)
        for name in ("data_window", "simulation_window"):
            low, high = getattr(self, name)
            if not 0 < low < high < np.inf:
                raise ArgumentValueError(
                    f"{name}: [{low:g}, {high:g}] is not a range of masses. Give its "
                    "lower end first."
                )
        (low, high), (left, right) = self.data_window, self.simulation_window
        if left > low or right < high:
            raise ArgumentValueError(
                f"simulation_window: [{left:g}, {right:g}] does not contain the window "
                f"of data, [{low:g}, {high:g}]. Simulated masses outside of the window "
                "of data migrate into it, so their window must be wider."
            )
        if not 0 < self.template_width <= right - left:
            raise ArgumentValueError(
                f"template_width: {self.template_width:g} is not a width in GeV that "
                f"fits into [{left:g}, {right:g}]."
            )
        if not 1 <= len(self.suffixes) <= 2:
            raise ArgumentValueError(
                f"suffixes: there are {len(self.suffixes)}. Give two, or one if only "
                "one object has a response."
            )


class RegionTable(NamedTuple):
    """The regions of two samples.

    Attributes:
        spec: The regions that are fitted.
        status: For each category whether it is fitted, and why not.
        notes: Sentences for the user.
        dropped: The numbers of events of data and simulation that have NaN in a column.
    """

    spec: SasSpec
    status: tuple[str, ...]
    notes: tuple[str, ...]
    dropped: tuple[int, int]


class _Sample(NamedTuple):
    """The events of a sample in its window, sorted by region.

    Attributes:
        masses: Their masses.
        weights: Their weights.
        starts: The first event of each key, and the number of events.
        dropped: The number of events with NaN.
    """

    masses: Float[np.ndarray, " events"]
    weights: Float[np.ndarray, " events"]
    starts: Int[np.ndarray, " keys_and_end"]
    dropped: int

    @property
    def counts(self) -> Int[np.ndarray, " keys"]:
        return np.diff(self.starts)

    def of(self, key: int) -> slice:
        return slice(self.starts[key], self.starts[key + 1])


def make_regions(
    data: Mapping[str, Any],
    simulation: Mapping[str, Any],
    categories: Categories,
    *,
    options: RegionOptions | None = None,
    mass_exponent: float = 0.5,
    double_gaussian: bool = False,
    shared: Sequence[str] = (),
) -> RegionTable:
    """Make the regions of two samples.

    Args:
        data: Columns by name, one number for each event.
        simulation: The same columns, and weights.
        categories: The categories of a lepton.
        options: Windows, bins and names of columns.
        mass_exponent: The power of the response of one lepton in that of the mass.
        double_gaussian: Whether the response is a sum of two Gaussians.
        shared: The parameters of the second Gaussian that all categories share.

    Raises:
        ArgumentTypeError: If a column is not one number for each event.
        ArgumentValueError: If a weight is not finite.
        UnknownKeyError: If a column is missing.
    """
    options = options or RegionOptions()
    observed = _sample(data, categories, options, "data")
    simulated = _sample(simulation, categories, options, "simulation")
    enough = (observed.counts > options.min_data) & (
        simulated.counts > options.min_simulation
    )
    edges = template_edges(options.simulation_window, options.template_width)
    chosen = [int(key) for key in np.flatnonzero(enough)]
    templates, squares = _templates(simulated, chosen, edges)
    notes: list[str] = []
    regions = []
    for place, key in enumerate(chosen):
        region = _region(
            _pair(key, categories.size, options),
            observed.masses[observed.of(key)],
            simulated.masses[simulated.of(key)],
            (templates[place], squares[place]),
            options,
        )
        if isinstance(region, str):
            notes.append(region)
        else:
            regions.append(region)
    kept, loose = _determined(regions)
    spec = SasSpec(
        categories,
        0.5 * (edges[1:] + edges[:-1]),
        tuple(kept),
        mass_exponent,
        double_gaussian,
        tuple(shared),
        # A narrower Gaussian than a bin of the template would show its bins.
        max(1e-3, options.template_width / 100),
    )
    if not kept:
        notes.append(
            f"There are {observed.masses.size} events of data in the categories and in "
            f"{list(options.data_window)} GeV, {observed.counts.max()} in one region, "
            f"and {simulated.masses.size} simulated events in "
            f"{list(options.simulation_window)} GeV, {simulated.counts.max()} in one."
        )
    notes += _notes(spec, loose, observed.dropped, simulated.dropped)
    fitted = set(spec.fitted)
    status = tuple(
        FITTED if i in fitted else UNDETERMINED if i in loose else NO_REGION
        for i in range(categories.size)
    )
    return RegionTable(
        spec, status, tuple(notes), (observed.dropped, simulated.dropped)
    )


def _sample(
    columns: Mapping[str, Any],
    categories: Categories,
    options: RegionOptions,
    sample: str,
) -> _Sample:
    """Sort the events of a sample by region."""
    simulated = sample == "simulation"
    low, high = options.simulation_window if simulated else options.data_window
    masses = _column(columns, options.mass, None, sample)
    used = {
        name + suffix: _column(columns, name + suffix, masses.size, sample)
        for name in categories.names
        for suffix in options.suffixes
    }
    indices = [categories.index(used, suffix) for suffix in options.suffixes]
    broken = np.isnan(masses)
    for values in used.values():
        broken |= np.isnan(values)
    # NaN compares as false.
    inside = (masses >= low) & (masses <= high)
    for index in indices:
        inside &= index >= 0
    weights = np.ones(masses.size)
    if simulated and options.weight is not None:
        weights = _column(columns, options.weight, masses.size, sample)
        if not np.isfinite(weights[inside]).all():
            raise ArgumentValueError(
                f"{sample}: the column {options.weight!r} has weights that are not "
                "finite. Remove these events, or give them a weight."
            )
    pair = np.sort(np.stack([index[inside] for index in indices]), 0)
    size = categories.size
    key = pair[0] if len(pair) == 1 else pair[0] * size + pair[1]
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key, minlength=size ** len(pair))
    return _Sample(
        np.asarray(masses[inside][order], float),
        np.asarray(weights[inside][order], float),
        np.concatenate([[0], np.cumsum(counts)]),
        int(broken.sum()),
    )


def _column(
    columns: Mapping[str, Any], name: str, size: int | None, sample: str
) -> np.ndarray:
    if name not in columns:
        raise unknown_key(name, list(columns), where=sample, kind="column")
    values = np.asarray(columns[name])
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"{sample}: the column {name!r} does not have one number for each event, "
            f"but the shape {values.shape} and the type {values.dtype}."
        )
    if size is not None and values.size != size:
        raise ArgumentTypeError(
            f"{sample}: the column {name!r} has {values.size} events, but the mass has "
            f"{size}."
        )
    return values


def _pair(key: int, size: int, options: RegionOptions) -> tuple[int, ...]:
    """Return the categories of a region."""
    return tuple(map(int, divmod(key, size))) if len(options.suffixes) == 2 else (key,)


def _templates(
    sample: _Sample,
    keys: Sequence[int],
    edges: Float[np.ndarray, " edges"],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the histograms of weights and of their squares, one row for each key."""
    bins = edges.size - 1
    row = np.full(sample.counts.size, -1)
    row[keys] = np.arange(len(keys))
    rows = np.repeat(row, sample.counts)
    place = np.searchsorted(edges, sample.masses, side="right") - 1
    place = (rows * bins + np.minimum(place, bins - 1))[rows >= 0]
    weights = sample.weights[rows >= 0]
    shape = (len(keys), bins)

    def filled(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, values, len(keys) * bins).reshape(shape)

    return filled(weights), filled(weights**2)


def _region(
    categories: tuple[int, ...],
    data: np.ndarray,
    simulation: np.ndarray,
    template: tuple[np.ndarray, np.ndarray],
    options: RegionOptions,
) -> Region | str:
    """Return a region, or a sentence if it cannot be fitted."""
    weights, squares = template
    negative = weights < 0
    positive = np.where(negative, 0, weights)
    name = ", ".join(map(str, categories))
    if not positive.sum() > 0 or not weights.sum() > 0:
        return (
            f"Region ({name}) is left out: the weights of its {simulation.size} "
            "simulated events are zero or negative in sum."
        )
    edges = data_edges(options.data_bins, data, simulation, options.data_window)
    if edges.size < 3:
        return f"Region ({name}) is left out: its data cannot be divided into bins."
    counts, _ = np.histogram(data, edges)
    if not counts.sum():
        return f"Region ({name}) is left out: its data are outside of all bins."
    return Region(
        categories,
        edges,
        counts.astype(float),
        positive,
        np.where(negative, 0, squares),
        data.size,
        simulation.size,
        float(weights[negative].sum()),
    )


def _determined(regions: Sequence[Region]) -> tuple[list[Region], set[int]]:
    """Leave out regions that do not determine the parameters of their categories.

    Only products of two responses are measured. Along a chain of regions of two
    different categories one response can rise and the next one fall. They are
    determined if the graph of categories has a cycle of odd length, as a region of one
    category is.

    Returns:
        The regions that are kept, and the categories that are not determined.
    """
    neighbours: dict[int, set[int]] = {}
    for region in regions:
        for i in region.categories:
            neighbours.setdefault(i, set()).update(region.categories)
    single = {one.categories[0] for one in regions if len(set(one.categories)) == 1}
    loose: set[int] = set()
    sides: dict[int, bool] = {}
    for first in neighbours:
        if first in sides:
            continue
        component, odd = _coloured(first, neighbours, single, sides)
        if not odd:
            loose |= component
    return [one for one in regions if loose.isdisjoint(one.categories)], loose


def _coloured(
    first: int,
    neighbours: Mapping[int, set[int]],
    single: set[int],
    sides: dict[int, bool],
) -> tuple[set[int], bool]:
    """Colour a component of a graph; the result says if two colours do not suffice."""
    sides[first] = True
    waiting, component, odd = [first], {first}, False
    while waiting:
        one = waiting.pop()
        odd |= one in single
        for other in neighbours[one] - {one}:
            if other not in sides:
                sides[other] = not sides[one]
                component.add(other)
                waiting.append(other)
            odd |= sides[other] == sides[one]
    return component, odd


def _notes(spec: SasSpec, loose: set[int], data: int, simulation: int) -> Iterator[str]:
    for count, sample in ((data, "data"), (simulation, "simulation")):
        if count:
            yield f"{count} events of {sample} with NaN in a column are left out."
    clipped = -sum(one.clipped for one in spec.regions)
    total = sum(float(one.template.sum()) for one in spec.regions)
    if clipped > 0:
        yield (
            f"Negative bins of templates are set to 0: {clipped:.3g} of {total:.3g} "
            "weights."
        )
    if loose:
        names = "; ".join(spec.categories.label(i) for i in sorted(loose))
        yield (
            "Only products of the responses of these categories are measured, so they "
            f"are not determined: {names}."
        )
    missing = spec.categories.size - len(spec.fitted) - len(loose)
    if missing:
        yield f"{missing} categories are in no region, and get no number."
