"""Files of all kinds are recognised by their content, and opened by one function."""

import json

import numpy as np
import pytest

from everwillow import io
from everwillow._errors import ArgumentTypeError, ArgumentValueError, SpecificationError
from everwillow.model import AbstractModel
from everwillow.models.templates import TemplateBuilder, write
from everwillow.workflows.documents import KINDS, hdf5_kind, load_document


WORKSPACE = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [5.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                }
            ],
        }
    ],
    "observations": [{"name": "SR", "data": [7]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}


def test_a_workspace_becomes_a_model_whatever_its_name(tmp_path):
    file = tmp_path / "looks_like.h5"
    file.write_text(json.dumps(WORKSPACE))
    model = load_document(file, measurement="m")
    assert isinstance(model, AbstractModel)
    assert model.poi == "mu"


def test_hdf5_files_are_told_apart_by_their_format(tmp_path):
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0])], "ch0")
    builder.add_process([3.0], "signal", "ch0", signal=True)
    builder.add_data(np.array([3.0]), "ch0")
    fit, record = tmp_path / "fit.dat", tmp_path / "record.h5"
    write(builder.spec(), fit)
    io.save({"limit": 0.8}, record)
    assert hdf5_kind(fit) is KINDS["template fit"]
    assert hdf5_kind(record) is KINDS["record"]
    assert load_document(fit).layout.processes == ("signal",)
    assert load_document(record) == {"limit": 0.8}
    with pytest.raises(ArgumentTypeError, match=r"measurement.*no options"):
        load_document(fit, measurement="m")


def test_unknown_files_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "other.h5"
    with h5py.File(file, "w") as opened:
        opened["x"] = 1.0
    assert hdf5_kind(file) is None
    with pytest.raises(ArgumentValueError, match="none of everwillow"):
        load_document(file)
    file.write_text("[]")
    with pytest.raises(SpecificationError, match="neither a pyhf workspace"):
        load_document(file)
