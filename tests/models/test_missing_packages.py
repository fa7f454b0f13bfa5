"""Without an optional package, an error says how to install it."""

import sys

import numpy as np
import pytest

import everwillow as ew
from everwillow.models import event_files, yaml_source
from everwillow.models.hs3.expressions import grammar


INSTALL = r'run pip install "\.\[{}\]"{} in a checkout of everwillow\.$'
OR_SAS = r' \(or "\.\[sas\]"\)'


@pytest.mark.parametrize(
    ("package", "content", "extra"),
    [
        ("uproot", b"root....", "nsbi"),
        ("pyarrow.parquet", b"PAR1....", "parquet"),
    ],
)
def test_packages_that_read_events(tmp_path, monkeypatch, package, content, extra):
    path = tmp_path / "events"
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, package, None)
    with (
        event_files.EventFiles() as files,
        pytest.raises(ImportError, match=INSTALL.format(extra, OR_SAS)) as e,
    ):
        files.table(path, "t")
    assert isinstance(e.value, ew.EverwillowError)
    # Other formats need no package.
    np.savez(tmp_path / "e.npz", x=np.ones(2))
    with event_files.EventFiles() as files:
        assert files.table(tmp_path / "e.npz").entries == 2


def test_package_that_reads_yaml(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=INSTALL.format("nsbi", OR_SAS)):
        yaml_source.read_yaml("a: 1")


def test_package_that_parses_expressions(monkeypatch):
    monkeypatch.setitem(sys.modules, "lark", None)
    with pytest.raises(ImportError, match=INSTALL.format("hs3", "")):
        grammar._lark()
