"""What commands print is what the README shows."""

import pathlib
import re

import pytest

import everwillow as ew
from everwillow.models.histfactory import from_pyhf
from tests.cli.test_inference import limits_in


ROOT = pathlib.Path(__file__).parents[2]


def without_times(text: str) -> str:
    """The output without its last line, and without the digits of the EDM."""
    return re.sub(
        r"EDM [\d.e+-]+\d", "EDM ...", text.partition("\nReading")[0].rstrip()
    )


@pytest.mark.slow
def test_the_fit_is_that_of_the_readme(run, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```console\n\$ (everwillow .*?)```", text, re.DOTALL)
    line, _, shown = block.partition("\n")
    done = run(*line.split()[1:])
    assert done.exit_code == 0
    assert without_times(done.stdout) == without_times(shown)


@pytest.mark.slow
def test_the_limits_are_those_of_the_readme(run, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = "docs/examples/data/search.json"
    assert f"`everwillow limit {file}` sets the limits" in (
        (ROOT / "README.md").read_text("utf-8")
    )
    found = limits_in(run("limit", file).stdout)
    wanted = ew.limits(from_pyhf(file))
    assert found["observed"] == pytest.approx(float(wanted.observed), rel=1e-5)
