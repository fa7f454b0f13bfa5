"""Generated template fits of any size, and that of the tutorial."""

import dataclasses

import numpy as np

from everwillow.likelihood.histograms import Axis, Channel, Layout
from everwillow.likelihood.templates.spec import (
    Responses,
    Systematic,
    Templates,
    TemplateSpec,
)
from everwillow.models.templates import TemplateBuilder


# Typical changes of a yield by one standard deviation.
SMALLEST, LARGEST = 0.002, 0.03


def template_spec(
    bins: int,
    processes: int,
    systematics: int,
    *,
    density: float = 1.0,
    channels: int = 1,
    local: float = 0.0,
    sparse: bool = False,
    seed: int = 0,
) -> TemplateSpec:
    """Generate a fit of falling spectra with smooth variations, and its data.

    Args:
        bins: Number of bins, of all channels.
        processes: Number of processes, the first one the signal.
        systematics: Number of systematics.
        density: The share of the yields that each systematic touches.
        channels: Number of channels, of equally many bins.
        local: The share of the systematics that touch one channel only.
        sparse: Whether to keep the responses as a list.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    width = bins // channels
    axis = Axis("x", tuple(np.arange(width + 1.0).tolist()))
    names = ["bins"] if channels == 1 else [f"channel{i}" for i in range(channels)]
    layout = Layout(
        tuple(Channel(name, (axis,)) for name in names),
        ("signal", *(f"background{i}" for i in range(1, processes))),
    )
    where, process = np.divmod(np.arange(bins * processes), processes)
    along = where / bins
    size, fall = rng.uniform(100, 2000, processes), rng.uniform(0, 3, processes)
    nominal = size[process] * np.exp(-fall[process] * along)
    rows, values = [], []
    for number in range(systematics):
        row = np.arange(nominal.size)
        if number < local * systematics:
            row = row[where // width == number % channels]
        if density < 1:
            row = np.flatnonzero(rng.random(nominal.size) < density)
        # A change of normalisation, a slope and a wave, of another size for each
        # process.
        level, slope, wave = rng.normal(0, 1, 3) / np.sqrt(3)
        phase, share = rng.uniform(0, 6), rng.uniform(0.2, 1, processes)
        x = along[row]
        shape = level + slope * (2 * x - 1) + wave * np.cos(phase + 6 * x)
        scale = rng.uniform(SMALLEST, LARGEST)
        rows.append(row.astype(np.int32))
        values.append(scale * share[process[row]] * shape)
    counts = [row.size for row in rows]
    start = np.concatenate([[0], np.cumsum(counts)])
    row, average = np.concatenate(rows), np.concatenate(values)
    spec = TemplateSpec(
        layout=layout,
        signals=("signal",),
        templates=Templates(
            where.astype(np.int32), process.astype(np.int32), nominal, nominal / 5
        ),
        systematics=tuple(Systematic(f"s{i:05d}") for i in range(systematics)),
        responses=Responses(start, row, average),
        systematic_type="log_normal",
        observed=np.zeros(bins),
        sparse=sparse,
    )
    truth = np.repeat(rng.normal(0, 1, systematics), counts)
    moved = np.bincount(row, average * truth, minlength=nominal.size)
    rate = np.bincount(where, nominal * np.exp(moved), minlength=bins)
    return dataclasses.replace(spec, observed=rng.poisson(rate).astype(float))


def tutorial() -> TemplateBuilder:
    """Book a peak on two backgrounds in (x, category), with a masked channel."""
    rng = np.random.default_rng(42)
    edges = np.linspace(0, 1, 11)
    centres = (edges[1:] + edges[:-1]) / 2
    half = np.full(2, 0.5)
    peak = np.exp(-0.5 * ((centres - 0.5) / 0.1) ** 2)
    signal = 5000 * np.outer(peak / peak.sum(), half)
    flat = 2000 * np.outer(np.full(10, 0.1), half * 2)
    fall = np.exp(-centres / 0.2)
    falling = 3000 * np.outer(fall / fall.sum(), half)
    builder = TemplateBuilder()
    axes = [("x", edges), ("category", np.arange(3.0))]
    builder.add_channel(axes, "events")
    builder.add_channel(axes[1:], "cross section", masked=True)
    for name, yields in (("signal", signal), ("flat", flat), ("falling", falling)):
        kind = {"signal": name == "signal", "variances": yields / 4}
        builder.add_process(yields, name, "events", **kind)
    section = np.array([60.0, 40.0])
    builder.add_process(
        section, "signal", "cross section", signal=True, variances=section / 100
    )
    builder.add_data(rng.poisson(signal + flat + falling), "events")
    every = ["signal", "flat", "falling"]
    builder.add_norm_systematic("lumi", every, "events", 1.01)
    builder.add_norm_systematic("flat_norm", "flat", "events", 1.05)
    builder.add_norm_systematic("falling_norm", "falling", "events", 1.1)
    tilt = 1 + 0.05 * (2 * centres - 1)[:, None]
    builder.add_systematic(
        (flat * tilt, flat / tilt**0.6), "tilt", "flat", "events", symmetrize="linear"
    )
    slope = 1 + 0.5 * (centres - 0.5)[:, None]
    builder.add_systematic(
        (signal * slope, signal / slope),
        "slope",
        "signal",
        "events",
        constrained=False,
        noi=True,
    )
    return builder
