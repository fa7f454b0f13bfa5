"""Generated events and a configuration, for the commands that fit."""

import pytest

from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing import generate_events


CATEGORIES = {"ScEta": [0.0, 1.5, 2.5]}
RESP, RESO = [1.01, 0.99], [0.015, 0.025]
TEXT = """
file_dt: data.parquet
file_mc: simulation.parquet
dir_results: results
dset_name: Toys
cset_name: Eta
scale_flat_syst: 1e-4
syst:
  cut: {sas: {cut: pt1 > 25 and pt2 > 25}}
corrlib: {cset_version: 3}
sas:
  categories: {ScEta: [0, 1.5, 2.5]}
  correct_data: true
  correct_mc: true
fitter: {win_z_dt: [80, 100], win_z_mc: [70, 110], name_weights: weight}
minimizer: {minimizer: Adam, dnll_tol: 0.01}
"""


@pytest.fixture
def config(tmp_path):
    """A configuration beside its files of events."""
    made = {
        "data": {"events": 8000, "resp": RESP, "reso": RESO, "seed": 1},
        "simulation": {"events": 16_000, "seed": 2, "kind": "simulation"},
    }
    for name, options in made.items():
        events = options.pop("events")
        columns = generate_events(events, categories=CATEGORIES, **options)
        write_events(columns, tmp_path / f"{name}.parquet")
    file = tmp_path / "config.yaml"
    file.write_text(TEXT)
    return file
