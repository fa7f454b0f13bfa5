"""Energy scale and smearing: whole commands, fits, and pulls of toys.

The command is ``everwillow sas fit`` for a generated case, in a new process without
kept programs: a nominal fit, two systematics, corrections, corrected events and
figures. The peer of the fit is the plain formula, compiled by JAX and minimised by
MIGRAD with its gradients.
"""

import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.timing import Row, emit, interleave, milliseconds, ratio


TOPIC = "scale and smearing"
TOYS = 100
RUN = "import sys; sys.argv[0] = 'everwillow'; from everwillow.cli import main; main()"


@dataclasses.dataclass(frozen=True)
class Case:
    """A generated pair of samples, and the longest time of its command in seconds."""

    data: int
    simulation: int
    eta: int
    r9: int
    seconds: float
    memory: float | None = None

    @property
    def categories(self):
        """The edges of the variables."""
        return {
            "ScEta": np.linspace(-2.5, 2.5, self.eta + 1).tolist(),
            "r9": np.linspace(0, 1, self.r9 + 1).tolist(),
        }

    @property
    def size(self):
        """The number of categories."""
        return self.eta * self.r9

    def samples(self):
        """Generate data and simulation."""
        from everwillow.models.scale_smearing import generate_events  # noqa: PLC0415

        random = np.random.default_rng(5)
        truth = {
            "resp": 1 + 0.005 * random.normal(size=self.size),
            "reso": 0.012 + 0.006 * random.random(self.size),
        }
        categories = self.categories
        return (
            generate_events(self.data, categories=categories, seed=1, **truth),
            generate_events(
                self.simulation, categories=categories, seed=2, kind="simulation"
            ),
        )


CASES = {
    "8 categories": Case(130_000, 200_000, 4, 2, 15.0, 1.0),
    "30 categories": Case(2_000_000, 2_000_000, 10, 3, 60.0),
}
WINDOWS = {"data_window": (80.0, 100.0), "simulation_window": (70.0, 110.0)}
CONFIGURATION = """
file_dt: data.parquet
file_mc: simulation.parquet
dir_results: results
dset_name: Toys
cset_name: EtaR9
scale_flat_syst: 0.5e-3
syst:
  window: {{fitter: {{win_z_mc: [65, 115], win_z_dt: [75, 105]}}}}
  cut: {{sas: {{cut: pt1 > 30 and pt2 > 30}}}}
corrlib: {{cset_version: 1}}
sas:
  categories: {categories}
  cut: pt1 > 25 and pt2 > 25
  correct_data: true
  correct_mc: true
fitter: {{win_z_mc: [70, 110], win_z_dt: [80, 100], name_weights: weight}}
minimizer: {{}}
"""


def command(case):
    """Return the time in seconds and the peak memory in GiB of a whole command."""
    from everwillow.models.event_files import write_events  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for sample, events in zip(("data", "simulation"), case.samples(), strict=True):
            write_events(events, folder / f"{sample}.parquet")
        text = CONFIGURATION.format(categories=case.categories)
        (folder / "config.yaml").write_text(text)
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", RUN, "sas", "fit", "config.yaml", "--no-cache"],
            cwd=folder,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            check=True,
            capture_output=True,
        )
        elapsed = time.perf_counter() - began
    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return elapsed, kib / 2**20


def peer(model):
    """Return a function that minimises the plain formula by MIGRAD, from one start."""
    import iminuit  # noqa: PLC0415
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415
    from jax.scipy.special import erf  # noqa: PLC0415

    spec = model.spec
    size = spec.categories.size
    first, second = np.array([one.categories for one in spec.regions]).T
    most = max(one.counts.size for one in spec.regions)
    edges = np.stack([_padded(one.edges, most + 1) for one in spec.regions])
    counts = np.stack([np.resize(one.counts, most) for one in spec.regions])
    for row, one in zip(counts, spec.regions, strict=True):
        row[one.counts.size :] = 0
    templates = np.stack([one.template for one in spec.regions])

    @jax.jit
    def nll(x):
        resp, reso = x[:size], x[size:]
        r = jnp.sqrt(resp[first] * resp[second])[:, None, None]
        s = 0.5 * jnp.sqrt(reso[first] ** 2 + reso[second] ** 2)[:, None, None]
        masses = jnp.asarray(spec.masses)[None, None]
        below = erf((edges[:, :, None] / r - masses) / (jnp.sqrt(2.0) * masses * s))
        sums = jnp.einsum("rbk,rk->rb", 0.5 * jnp.diff(below, axis=1), templates)
        total = jnp.sum(sums, 1, keepdims=True)
        logs = jnp.log(jnp.where(counts > 0, sums / total, 1.0))
        return -jnp.sum(counts * logs)

    gradient = jax.jit(jax.grad(nll))

    def minimise():
        start = np.repeat([1.0, 0.02], size)
        minuit = iminuit.Minuit(nll, start, grad=gradient)
        minuit.errordef, minuit.tol = 0.5, 1e-3
        minuit.limits = [(0.5, 1.5)] * size + [(1e-3, 0.2)] * size
        return minuit.migrad()

    return minimise


def _padded(edges, size):
    return np.append(edges, np.full(size - edges.size, edges[-1]))


def fits(name, case):
    """Return the times of the parts of a fit."""
    import everwillow as ew  # noqa: PLC0415
    from everwillow.workflows.scale_smearing import RegionalFitter  # noqa: PLC0415

    data, simulation = case.samples()
    rows = []
    began = time.perf_counter()
    fitter = RegionalFitter(data, simulation, case.categories, **WINDOWS)
    rows.append(Row(TOPIC, f"{name}, regions", time.perf_counter() - began, "s"))
    model, done = fitter.model, fitter.regional_fit
    assert done.result.edm < 1e-6
    calls = {
        "fit": lambda: ew.fit(model).nll,
        "simulation": done.simulation_covariance,
    }
    if case.size < 10:
        minimise = peer(model)
        found = minimise()
        assert abs(found.fval - float(done.result.nll)) < 1e-2
        calls["peer"] = minimise
    times = interleave(calls, repeats=5, budget=30.0)
    own = times["fit"]
    target = 300.0 if case.size < 10 else None
    rows.append(milliseconds(TOPIC, f"{name}, fit, warm", own, target=target))
    share = ratio(times["simulation"], own)
    what = f"{name}, errors of simulation over fit"
    rows.append(Row(TOPIC, what, share, "x", target=1.0))
    if "peer" in times:
        what = f"{name}, MIGRAD over fit"
        rows.append(Row(TOPIC, what, ratio(times["peer"], own), "x"))
        rows += pulls(name, model, done.result)
    return rows


def pulls(name, model, result):
    """Return mean and width of the pulls of refits of toys."""
    import everwillow as ew  # noqa: PLC0415

    toys = ew.toys.fit_toys(model, result, ntoys=TOYS, key=1)
    assert np.all(toys.success)
    found = np.concatenate(
        [
            np.ravel((toys.params[key] - value) / toys.errors[key])
            for key, value in result.params.items()
        ]
    )
    return [
        Row(TOPIC, f"{name}, mean of pulls of {TOYS} toys", float(found.mean())),
        Row(TOPIC, f"{name}, width of pulls", float(found.std())),
    ]


def main():
    """Measure all cases."""
    import jax  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    rows = []
    for name, case in CASES.items():
        elapsed, memory = command(case)
        rows.append(Row(TOPIC, f"{name}, command", elapsed, "s", target=case.seconds))
        rows.append(Row(TOPIC, f"{name}, peak", memory, "GiB", target=case.memory))
        rows += fits(name, case)
    emit(rows)


if __name__ == "__main__":
    main()
