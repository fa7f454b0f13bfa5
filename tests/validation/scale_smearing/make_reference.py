"""Make regions.npz and reference.json from events and numbers of a synthetic case.

The case has 130 000 events of data, and simulated Z -> ee events, with known responses
and resolutions in 8 categories. Its numbers are those of an implementation in NumPy and
SciPy, independent of everwillow: an exact minimum of the same likelihood, its inverse
Hessian, and the errors from limited simulation. It differs from ijazz 0.1.1 in one
point, in which that is wrong: probabilities are normalised over the bins of a region.

Run with the folder of the case, which has data.parquet, mc.parquet, expected.json:

    python -m tests.validation.scale_smearing.make_reference FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from everwillow.models.scale_smearing import Categories, RegionOptions, make_regions


HERE = Path(__file__).parent
OPTIONS = RegionOptions(
    weight="weight_central",
    data_window=(80.0, 100.0),
    simulation_window=(70.0, 110.0),
    min_data=20,
    min_simulation=100,
)


def events(file: Path) -> dict[str, np.ndarray]:
    """Return the columns of a file, after the selection of the case."""
    table = pq.read_table(file)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    kept = (columns["pt1"] > 25) & (columns["pt2"] > 25)
    return {name: values[kept] for name, values in columns.items()}


def main(folder: Path) -> None:
    """Write both files."""
    expected = json.loads((folder / "expected.json").read_text())
    edges = {
        name: [float(edge) for edge in one]
        for name, one in expected["categories"].items()
    }
    made = make_regions(
        events(folder / "data.parquet"),
        events(folder / "mc.parquet"),
        Categories.of(edges),
        options=OPTIONS,
    )
    spec = made.spec
    np.savez_compressed(
        HERE / "regions.npz",
        masses=spec.masses,
        pairs=np.array([one.categories for one in spec.regions], np.int8),
        bins=np.array([one.counts.size for one in spec.regions], np.int8),
        edges=np.concatenate([one.edges for one in spec.regions]),
        counts=np.concatenate([one.counts for one in spec.regions]).astype(np.int32),
        # Single precision moves -ln L by less than 1e-4.
        templates=np.array([one.template for one in spec.regions], np.float32),
        variances=np.array([one.variances for one in spec.regions], np.float32),
    )
    clean = expected["independent_minimum"]["clean"]
    reference = {
        "made_by": "tests/validation/scale_smearing/make_reference.py",
        "categories": expected["categories"],
        "truth": expected["truth"],
        "clean": clean,
        "tolerances": expected["tolerances"],
        "events": [[one["n_data"], one["n_mc"]] for one in expected["regions"]],
    }
    (HERE / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
