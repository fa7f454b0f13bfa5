r"""Combine published measurements of the top-quark mass.

    python combine_top_mass.py              world combination of March 2014
    python combine_top_mass.py lhc          LHC combination of September 2013
    python combine_top_mass.py --correlate  the same likelihood, written otherwise

Every measurement is a Model of its own, with its own parameter names. A source of
systematic uncertainty that shifts measurement i by sigma_i becomes a nuisance
parameter theta with the constraint "0 +- 1", and the measurement expects

    m_i = m_top + sum over its sources of  sigma_i * theta.

The papers state the correlations source by source: measurements form groups (those of
one experiment, say) within which the correlation is 1, and between the groups it is
one number rho. In a likelihood this becomes

    within a group      one nuisance parameter, which its measurements share by name;
    rho = 0             one such parameter for each group;
    0 < rho < 1         either (a) or (b).

(a) Shared parameters only. The theta of each group consists of a part that all groups
    share and a part of its own,

        theta_group = sqrt(rho) * theta_common + sqrt(1 - rho) * theta_own,

    which has variance 1 and correlation rho with every other group. (For any other
    correlation matrix C, the parts are the columns of a matrix L with C = L L^T, such
    as its Cholesky factor.)
(b) One theta for each group, as if rho were 0, and ``combine(..., correlate=...)``,
    which replaces their constraints by one joint Gaussian.

Both give the same numbers. The figure needs matplotlib.
"""

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

import everwillow as ew


try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError:
    mpl = None


jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).parent / "data"
TABLES = {"world": "top_mass_world_2014.json", "lhc": "top_mass_lhc_2013.json"}

# Everybody has a name of their own for the same thing; `combine` renames.
MASS_NAMES = {"CDF": "Mtop", "D0": "mt", "ATLAS": "m_top", "CMS": "mt"}


class MeasuredMass(eqx.Module):
    """A mass with a Gaussian statistical error, shifted by nuisance parameters.

    Attributes:
        mass: Name of the parameter that is the mass.
        statistical: Statistical error.
        shifts: By name of a nuisance parameter, the shift for one standard deviation.
    """

    mass: str = eqx.field(static=True)
    statistical: float
    shifts: dict[str, float]

    def expected(self, params):
        """Return the mass that is measured on average."""
        thetas = jnp.stack([params[name] for name in self.shifts])
        return params[self.mass] + jnp.stack(list(self.shifts.values())) @ thetas

    def nll(self, params, observed):
        """Return -ln L of the measured mass, up to a constant."""
        return 0.5 * ((observed - self.expected(params)) / self.statistical) ** 2


class Mass(NamedTuple):
    """A mass with its two errors."""

    value: float
    statistical: float
    systematic: float

    @property
    def error(self) -> float:
        """The total error."""
        return math.hypot(self.statistical, self.systematic)


class Combination(NamedTuple):
    """What one quotes of a combination.

    Attributes:
        mass: The result; its errors are built from weights and impacts.
        error: The total error, from the covariance matrix of the fit.
        chi2: Of the measurements with the result.
        p_value: Probability of a chi2 this large or larger.
        weights: By measurement, how far the result moves with it; their sum is 1.
        impacts: By source, the error that it causes.
        nuisances: Number of nuisance parameters.
    """

    mass: Mass
    error: float
    chi2: float
    p_value: float
    weights: dict[str, float]
    impacts: dict[str, float]
    nuisances: int


def read(name: str) -> dict[str, Any]:
    """Read an input table, ``"world"`` or ``"lhc"``."""
    return json.loads((DATA / TABLES[name]).read_text())


def measured(table) -> dict[str, Mass]:
    """Return the measurements of a table by name, systematic errors in quadrature."""
    columns = zip(*(source["sigma"] for source in table["sources"]), strict=True)
    systematic = [math.hypot(*sigmas) for sigmas in columns]
    rows = zip(table["values"], table["statistical"], systematic, strict=True)
    return dict(zip(table["measurements"], itertools.starmap(Mass, rows), strict=True))


def published(table) -> Mass:
    """Return the result that the paper prints."""
    return Mass(*(table["published"][k] for k in ("value", "stat", "syst")))


def groups(table, source) -> list[str]:
    """Return for each measurement the parameter that stands for a source."""
    return [f"{source['name']}: {g}" for g in table["groupings"][source["same_within"]]]


def measurement(table, i: int, *, common_parts: bool) -> ew.Model:
    """Return the Model of measurement i, under its own parameter names.

    Args:
        table: The input table.
        i: Which measurement.
        common_parts: Whether a source that is partly correlated between groups has a
            common part, (a); otherwise it is one parameter, (b).
    """
    experiment = table["measurements"][i].split()[0]
    shifts = {}
    for source in table["sources"]:
        sigma, rho = source["sigma"][i], source["between"]
        if sigma and rho and common_parts:
            shifts[f"{source['name']} common"] = math.sqrt(rho) * sigma
            shifts[source["name"]] = math.sqrt(1 - rho) * sigma
        elif sigma:
            shifts[source["name"]] = sigma
    mass = MeasuredMass(MASS_NAMES[experiment], table["statistical"][i], shifts)
    return ew.Model(
        mass.nll,
        {mass.mass: 170.0} | dict.fromkeys(shifts, 0.0),
        table["values"][i],
        constraints=dict.fromkeys(shifts, ew.Normal(0.0, 1.0)),
        expected=mass.expected,
    )


def joint_names(table, i: int, model: ew.Model) -> dict[str, str]:
    """Return what the parameters of measurement i are called in the combination.

    Parameters that get the same name become one.
    """
    names = {MASS_NAMES[table["measurements"][i].split()[0]]: "mass"}
    for source in table["sources"]:
        names[source["name"]] = groups(table, source)[i]
        names[f"{source['name']} common"] = f"{source['name']}: common"
    return {own: names[own] for own in model.state}


def correlations(table) -> dict[tuple[str, str], float]:
    """Return the correlation of each pair of groups that are partly correlated."""
    pairs = {}
    for source in table["sources"]:
        used = zip(groups(table, source), source["sigma"], strict=True)
        names = sorted({name for name, sigma in used if sigma})
        if source["between"]:
            pairs |= dict.fromkeys(itertools.combinations(names, 2), source["between"])
    return pairs


def combination(table, *, correlate: bool = False) -> ew.AbstractModel:
    """Return the joint Model of all measurements of a table.

    Args:
        table: The input table.
        correlate: Whether partial correlations are expressed by ``correlate=``, (b),
            or by parts that are shared, (a).
    """
    models = {
        name: measurement(table, i, common_parts=not correlate)
        for i, name in enumerate(table["measurements"])
    }
    rename = {
        name: joint_names(table, i, model)
        for i, (name, model) in enumerate(models.items())
    }
    pairs = correlations(table) if correlate else None
    return ew.combine(models, rename=rename, correlate=pairs)


def analyse(table, model: ew.AbstractModel) -> Combination:
    """Fit the joint Model and return what one quotes of it."""

    def fitted(observation):
        result = ew.fit(model, observation=observation)
        error = ew.uncertainties(model, result, observation)["mass"]
        # -ln L contains constants. They cancel against data that agree perfectly.
        perfect = model.nll(result.params, model.asimov(result.params))
        return result.params["mass"], (error, 2 * (result.nll - perfect))

    # The derivative of the fitted mass by all that was observed, through the fit: by
    # a measured value it is the weight of that measurement, by the auxiliary value of
    # a nuisance parameter the shift that this parameter's uncertainty causes.
    derivative = jax.jit(
        jax.value_and_grad(fitted, has_aux=True),
        # Not needed; it halves the time that XLA takes to compile for a CPU.
        compiler_options={"xla_cpu_use_fusion_emitters": False},
    )
    (value, (error, chi2)), slopes = derivative(model.observation)
    weights = {name: float(slopes["main"][name]) for name in table["measurements"]}
    shares = zip(weights.values(), table["statistical"], strict=True)
    statistical = math.hypot(*(weight * stat for weight, stat in shares))
    impacts = impacts_by_source(model, slopes["aux"])
    ndf = len(weights) - 1
    return Combination(
        mass=Mass(float(value), statistical, math.hypot(*impacts.values())),
        error=float(error),
        chi2=float(chi2),
        p_value=float(jax.scipy.special.gammaincc(ndf / 2, chi2 / 2)),
        weights=weights,
        impacts=impacts,
        nuisances=len(model.state) - 1,
    )


def impacts_by_source(model: ew.AbstractModel, slopes) -> dict[str, float]:
    """Return the uncertainty that each source causes.

    Args:
        model: The joint Model.
        slopes: Derivative of the result by the auxiliary observations.
    """
    variances: dict[str, float] = {}
    for name, constraint in model.constraints.items():
        if isinstance(constraint, ew.MultivariateNormal):
            parameter = constraint.keys[0]
            variance = slopes[name] @ constraint.covariance @ slopes[name]
        else:
            parameter = name
            variance = (slopes[name] * constraint.width) ** 2
        source = parameter.split(":")[0]
        variances[source] = variances.get(source, 0.0) + float(variance)
    return {source: math.sqrt(variance) for source, variance in variances.items()}


def report(table, found: Combination) -> str:
    """Return the table of a combination as text."""
    row = "{:16}{:8.2f}{:8.2f}{:8.2f}{:8.2f}"
    head = f"{'':16}{'mass':>8}{'stat':>8}{'syst':>8}{'total':>8}{'weight':>10}"
    lines = [
        f"{table['title']}: top-quark mass in {table['unit']}",
        f"{table['origin']}",
        f"{len(found.weights)} measurements, {found.nuisances} nuisance parameters",
        "",
        f"{head}{'pull':>8}",
    ]
    for name, mass in measured(table).items():
        # A measurement is correlated with the mean: the variance of their difference
        # is the difference of their variances.
        width = math.sqrt(mass.error**2 - found.error**2)
        pull = (mass.value - found.mass.value) / width
        numbers = row.format(name, *mass, mass.error)
        lines.append(f"{numbers}{100 * found.weights[name]:8.1f} %{pull:8.2f}")
    total = 100 * sum(found.weights.values())
    paper = published(table)
    lines += [
        "-" * len(lines[-1]),
        f"{row.format('combination', *found.mass, found.error)}{total:8.1f} %",
        row.format("published", *paper, paper.error),
        "",
        f"chi2/ndf = {found.chi2:.1f}/{len(found.weights) - 1} "
        f"(published {table['published']['chi2']}/{table['published']['ndf']}), "
        f"p = {100 * found.p_value:.0f} %",
        "",
        "Error by source:",
    ]
    ranked = sorted(found.impacts.items(), key=lambda item: -item[1])
    cells = [f"{source:>14} {impact:.2f}" for source, impact in ranked]
    lines += ["".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    return "\n".join(lines)


def draw(table, found: Combination):
    """Return a figure of the measurements, with the combination as a band."""
    blue, grey = "#1f4e8c", "#6b6b6b"
    masses = measured(table)
    rows = [(name, mass, "black", "o") for name, mass in masses.items()]
    rows += [("Combination", found.mass, blue, "D")]
    rows += [("Published", published(table), grey, "s")]
    heights = list(row_heights(list(masses)))
    with mpl.rc_context({"font.size": 10}):
        figure = Figure(figsize=(7.4, 1.4 - 0.3 * heights[-1]), layout="constrained")
        axes = figure.subplots()
        low, high = found.mass.value - found.error, found.mass.value + found.error
        axes.axvspan(low, high, color=blue, alpha=0.13, lw=0)
        axes.axvline(found.mass.value, color=blue, lw=1)
        for (_, mass, colour, marker), y in zip(rows, heights, strict=True):
            value, stat, syst = mass
            style = {"color": colour, "ls": "none"}
            axes.errorbar(value, y, xerr=mass.error, elinewidth=1, **style)
            axes.errorbar(value, y, xerr=stat, elinewidth=3, **style)
            axes.plot(value, y, marker, color=colour, ms=5.5)
            axes.text(
                1.02,
                y,
                f"{value:.2f} ± {stat:.2f} ± {syst:.2f}",
                transform=axes.get_yaxis_transform(),
                va="center_baseline",
                color=colour,
            )
        axes.text(
            1.02, 0.9, "value ± stat ± syst", transform=axes.get_yaxis_transform()
        )
        axes.set_yticks(heights, [name for name, *_ in rows])
        for label, (*_, colour, _) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(colour)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(heights[-1] - 0.7, 1.5)
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.set_xlabel(f"top-quark mass [{table['unit']}]")
        axes.set_title(
            f"{table['title']}, "
            f"$\\chi^2$/ndf = {found.chi2:.1f}/{len(found.weights) - 1}",
            fontsize=11,
        )
    return figure


def row_heights(names: list[str]) -> Iterator[float]:
    """Return where each measurement and the two results go, from top to bottom."""
    height = 0.0
    for name, above in zip(names, [names[0], *names], strict=False):
        # A little air between experiments.
        height -= 0.4 if name.split()[0] != above.split()[0] else 0.0
        yield height
        height -= 1
    yield from (height - 0.6, height - 1.6)


def main() -> None:
    """Print the table of a combination and draw it."""
    parser = argparse.ArgumentParser(description="Combine top-quark masses.")
    parser.add_argument(
        "table", nargs="?", choices=TABLES, default="world", help="which combination"
    )
    parser.add_argument(
        "--correlate",
        action="store_true",
        help="express partial correlations by a joint Gaussian",
    )
    parser.add_argument(
        "--figure", type=Path, default=Path("top_mass.png"), help="where to draw it"
    )
    options = parser.parse_args()

    table = read(options.table)
    found = analyse(table, combination(table, correlate=options.correlate))
    print(report(table, found))
    if mpl is None:
        print("\nNo figure, as matplotlib is not installed (pip install matplotlib).")
    else:
        draw(table, found).savefig(options.figure, dpi=150)
        print(f"\nFigure: {options.figure}")


if __name__ == "__main__":
    main()
