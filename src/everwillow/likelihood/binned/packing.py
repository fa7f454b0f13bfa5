"""Packing a `BinnedSpec` into arrays, once, in NumPy."""

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from everwillow._errors import ShapeMismatchError
from everwillow.likelihood.binned.packed import Packed, Places
from everwillow.likelihood.binned.places import PlaceTable
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    Interpolation,
    NormVariation,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.binned.tail import Gammas, assign_gammas
from everwillow.likelihood.interpolation import MULTIPLICATIVE, Bend, NormFactors


# Cost of a row without bins, in units of that of a bin; smaller tiles need more rows.
_ROW_COST = 4
_LARGEST_TILE = 64
# With fewer tail parameters a Schur complement costs more than it saves.
_MANY = 64


def pack(spec: BinnedSpec, table: PlaceTable) -> tuple[Packed, np.ndarray]:
    """Pack a likelihood into arrays.

    A channel whose bins need factors of their own, besides one tail parameter each, is
    packed as channels of one bin: effects on a single bin then act on a block.

    Args:
        spec: The likelihood.
        table: Places of its parameters in the vector.

    Raises:
        ShapeMismatchError: If templates of a channel have different numbers of bins.

    Returns:
        The arrays; and the place of each nominal yield, ordered by channel and sample,
        in the flattened ``nominal``.
    """
    for channel in spec.channels:
        _check_lengths(channel)
    gammas = assign_gammas(spec, table)
    lists = _Lists(table, gammas, _tile_size(spec, gammas.split))
    for channel, first in zip(spec.channels, gammas.first_bins, strict=True):
        bins = np.arange(channel.observed.size)
        pieces = bins[:, None] if channel.name in gammas.split else [bins]
        for piece in pieces:
            lists.add(channel, first, piece)
    places = [
        lists.yield_place[channel.name, sample]
        for channel in spec.channels
        for sample in range(len(channel.samples))
    ]
    return lists.packed(), np.concatenate([np.zeros(0, int), *places]).astype(np.int32)


def _check_lengths(channel: ChannelSpec) -> None:
    shape = np.shape(channel.observed)
    for sample in channel.samples:
        templates = [("nominal", sample.nominal)]
        for effect in sample.effects:
            if isinstance(effect, ShapeVariation):
                name = f"of {effect.parameter!r}"
                templates += [(f"down {name}", effect.down), (f"up {name}", effect.up)]
        for label, template in templates:
            if np.shape(template) != shape:
                raise ShapeMismatchError(
                    f"channel {channel.name!r}, sample {sample.name!r}: the yields "
                    f"{label} have shape {np.shape(template)}, the data {shape}."
                )


def _tile_size(spec: BinnedSpec, split: frozenset[str]) -> int:
    """Return the number of bins in a tile that makes the rows cheapest."""
    counts = collections.Counter[int]()
    for channel in spec.channels:
        if channel.name in split:
            counts[1] += channel.observed.size * len(channel.samples)
        else:
            counts[channel.observed.size] += len(channel.samples)
    sizes = {1, 2, 4, 8, 16, 32, _LARGEST_TILE}
    sizes |= {bins for bins in counts if 0 < bins <= _LARGEST_TILE}

    def cost(size: int) -> int:
        rows = sum(-(-bins // size) * samples for bins, samples in counts.items())
        return rows * (size + _ROW_COST)

    return min(sorted(sizes), key=cost)


@dataclass
class _Lists:
    """The lists of a `Packed` while they grow."""

    table: PlaceTable
    gammas: Gammas
    bins: int
    bin_place: list[np.ndarray] = field(default_factory=list)
    tail_slot: list[np.ndarray] = field(default_factory=list)
    tile_rows: list[range] = field(default_factory=list)
    nominal: list[np.ndarray] = field(default_factory=list)
    carries: list[np.ndarray] = field(default_factory=list)
    row_tile: list[int] = field(default_factory=list)
    row_block: list[int] = field(default_factory=list)
    scales: list[list[int]] = field(default_factory=list)
    norms: list[tuple[int, int, Interpolation, float, float]] = field(
        default_factory=list
    )
    shapes: list[tuple[int, int]] = field(default_factory=list)
    slopes: list[np.ndarray] = field(default_factory=list)
    curves: list[np.ndarray] = field(default_factory=list)
    bends: dict[tuple[int, Interpolation], int] = field(default_factory=dict)
    yield_place: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def add(self, channel: ChannelSpec, first: int, bins: np.ndarray) -> None:
        """Add some bins of a channel, with one block for each sample."""
        block = len(self.scales)
        for sample in channel.samples:
            self._add_block(sample, first, bins)
        for start in range(0, bins.size, self.bins):
            here = bins[start : start + self.bins]
            tile = len(self.tail_slot)
            self.bin_place.append(tile * self.bins + np.arange(here.size))
            self.tail_slot.append(self.gammas.slot[first + here])
            rows = len(self.nominal)
            self.tile_rows.append(range(rows, rows + len(channel.samples)))
            for offset, sample in enumerate(channel.samples):
                self.row_tile.append(tile)
                self.row_block.append(block + offset)
                place = self.yield_place.setdefault(
                    (channel.name, offset), np.zeros(channel.observed.size, int)
                )
                place[here] = len(self.nominal) * self.bins + np.arange(here.size)
                self._add_row(sample, first, here)

    def _add_block(self, sample: SampleSpec, first: int, bins: np.ndarray) -> None:
        block = len(self.scales)
        uses: collections.Counter[int] = collections.Counter()

        def place(name: str) -> int:
            return unique(self.table.scalar(name))

        def unique(index: int) -> int:
            # A second effect of a parameter on a block acts through an alias of it.
            uses[index] += 1
            return index if uses[index] == 1 else self.table.alias(index, uses[index])

        scales = []
        for effect in sample.effects:
            match effect:
                case Scale(parameter):
                    scales.append(place(parameter))
                case NormVariation(parameter, down, up, code):
                    self.norms.append((block, place(parameter), code, down, up))
                case BinScale(parameters) if bins.size == 1:
                    index = int(self.table.elements(parameters)[bins[0]])
                    if index != self.gammas.tail_of_bin[first + bins[0]]:
                        scales.append(unique(index))
                case ShapeVariation(parameter, down, up, code) if (
                    code in MULTIPLICATIVE
                ):
                    b = bins[0]
                    ratios = (
                        _ratio(down[b], sample.nominal[b]),
                        _ratio(up[b], sample.nominal[b]),
                    )
                    self.norms.append((block, place(parameter), code, *ratios))
                case _:
                    pass
        self.scales.append(scales)

    def _add_row(self, sample: SampleSpec, first: int, bins: np.ndarray) -> None:
        row = len(self.nominal)
        nominal = sample.nominal[bins]
        self.nominal.append(nominal)
        carries = np.zeros(bins.size, bool)
        for effect in sample.effects:
            if isinstance(effect, BinScale):
                elements = self.table.elements(effect.parameters)[bins]
                carries |= elements == self.gammas.tail_of_bin[first + bins]
            elif (
                isinstance(effect, ShapeVariation)
                and effect.interpolation not in MULTIPLICATIVE
            ):
                place = self.table.scalar(effect.parameter)
                bend = self.bends.setdefault(
                    (place, effect.interpolation), len(self.bends)
                )
                self.shapes.append((row, bend))
                down, up = effect.down[bins], effect.up[bins]
                self.slopes.append((up - down) / 2)
                self.curves.append((up + down) / 2 - nominal)
        self.carries.append(carries)

    def packed(self) -> Packed:
        """Turn the lists into arrays."""
        table, gammas = self.table, self.gammas
        one = table.size + len(table.derived)
        dense = np.arange(table.size)
        if gammas.tail.size >= _MANY:
            dense = np.setdiff1d(dense, gammas.tail)
        column = np.full(one + 1, one + 1)
        column[dense] = np.arange(dense.size)
        column[table.size : one] = dense.size + np.arange(len(table.derived))
        scale_place = _filled(self.scales, one)
        shape = np.array(self.shapes, int).reshape(-1, 2)
        bend_place = np.array([place for place, _ in self.bends], int)
        tail_slot = self._tiles(self.tail_slot, gammas.tail.size)
        carries = self._tiles(self.carries, False)
        row_tile = np.array(self.row_tile)
        norm_block = np.array([norm[0] for norm in self.norms], int)
        norm_place = np.array([norm[1] for norm in self.norms], int)
        tail_place = np.argsort(tail_slot.ravel(), kind="stable")[: gammas.tail.size]
        present = self._tiles([np.ones(n.size, bool) for n in self.nominal], False)
        tailed = (tail_slot < gammas.tail.size)[row_tile] & present
        small = np.int32
        arrays: dict[str, Any] = {
            "places": Places(
                size=table.size,
                dense_bytes=dense.astype(small).tobytes(),
                tail_bytes=gammas.tail.astype(small).tobytes(),
                derived=tuple(table.derived),
                whole_bins=bool((carries == tailed).all()),
            ),
            "bin_place": np.concatenate(self.bin_place).astype(small),
            "nominal": self._tiles(self.nominal, 0.0),
            "row_tile": row_tile.astype(small),
            "row_block": np.array(self.row_block, small),
            "tile_rows": _filled(self.tile_rows, len(self.nominal)).astype(small),
            "tail_slot": tail_slot.astype(small),
            "tail_place": tail_place.astype(small),
            "carries": carries,
            "scale_place": scale_place.astype(small),
            "scale_column": column[scale_place].astype(small),
            "norm_block": norm_block.astype(small),
            "norm_place": norm_place.astype(small),
            "norm_column": column[norm_place].astype(small),
            "norms": self._norm_factors(),
            "shape_row": shape[:, 0].astype(small),
            "shape_bend": shape[:, 1].astype(small),
            "shape_column": column[bend_place[shape[:, 1]]].astype(small),
            "slope": self._tiles(self.slopes, 0.0),
            "curve": self._tiles(self.curves, 0.0),
            "bend_place": bend_place.astype(small),
            "bends": Bend.of([code for _, code in self.bends]),
        }
        return Packed(**arrays)

    def _tiles(self, pieces: Sequence[np.ndarray], fill: Any) -> np.ndarray:
        """Pad pieces of up to a tile's length, and stack them."""
        lengths = np.array([piece.size for piece in pieces], int)
        dtype = pieces[0].dtype if pieces else type(fill)
        out = np.full((len(pieces), self.bins), fill, dtype)
        if pieces:
            out[np.arange(self.bins) < lengths[:, None]] = np.concatenate(pieces)
        return out

    def _norm_factors(self) -> NormFactors:
        """Return the factors of the normalisation effects, in their order."""
        codes: list[Interpolation] = [norm[2] for norm in self.norms]
        order: list[int] = []
        parts = []
        for code in get_args(Interpolation):
            if code not in codes:
                continue
            members = [i for i, other in enumerate(codes) if other == code]
            order += members
            down, up = np.array([self.norms[i][3:] for i in members], float).T
            parts.append(NormFactors.of(code, down, up))
        if not parts:
            return NormFactors.of("code4", np.ones(0), np.ones(0))
        return NormFactors.joined(parts, np.argsort(order, kind="stable"))


def _filled(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """Stack rows of different lengths."""
    longest = max(map(len, rows), default=0)
    return np.array(
        [[*row, *[fill] * (longest - len(row))] for row in rows], int
    ).reshape(len(rows), longest)


def _ratio(value: Any, nominal: Any) -> float:
    return float(value / nominal) if nominal else 1.0
