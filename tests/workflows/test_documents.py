"""Files of all kinds are recognised by their content, and opened by one function."""

import json

import numpy as np
import pytest

from everwillow import io
from everwillow._errors import ArgumentTypeError, ArgumentValueError, SpecificationError
from everwillow.model import AbstractModel
from everwillow.models import json_source
from everwillow.models.histfactory import digest
from everwillow.models.templates import TemplateBuilder, write, writing
from everwillow.workflows.documents import KINDS, load_document, open_document
from everwillow.workflows.templates import files


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
    assert open_document(fit).kind == "template fit"
    assert open_document(record).kind == "record"
    assert load_document(fit).layout.processes == ("signal",)
    assert load_document(record) == {"limit": 0.8}
    with pytest.raises(ArgumentTypeError, match=r"measurement.*no options"):
        load_document(fit, measurement="m")


def test_unknown_files_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "other.h5"
    with h5py.File(file, "w") as opened:
        opened["x"] = 1.0
    with pytest.raises(ArgumentValueError, match="attribute 'format' of the file is N"):
        open_document(file, ("template fit", "template results"))
    with pytest.raises(ArgumentValueError, match="none of everwillow"):
        load_document(file)
    file.write_text("[]")
    with pytest.raises(SpecificationError, match="neither a pyhf workspace"):
        load_document(file)


def test_kinds_that_are_not_accepted_are_named(tmp_path):
    file = tmp_path / "record.h5"
    io.save({"limit": 0.8}, file)
    with pytest.raises(ArgumentValueError, match=r"fit, but .*io\.load reads"):
        open_document(file, ("template fit",))
    with pytest.raises(ArgumentValueError, match=r"workspace, but .* HS3"):
        open_document({"metadata": {"hs3_version": "0.2"}}, ("pyhf",))
    with pytest.raises(ArgumentTypeError, match=r"analysis: .*pyhf.*measurement"):
        load_document(WORKSPACE, analysis="first")


def test_the_signatures_of_the_table_are_those_of_the_formats():
    assert KINDS["record"].signature == io.files.FORMAT
    assert KINDS["template fit"].signature == writing.KIND.format
    assert KINDS["template results"].signature == files.KIND.format


def test_each_file_of_json_is_parsed_once(tmp_path, monkeypatch):
    workspace, patch, patchset = (tmp_path / name for name in ("w", "p", "s"))
    operation = {"op": "replace", "path": "/observations/0/data", "value": [6]}
    workspace.write_text(json.dumps(WORKSPACE))
    patch.write_text(json.dumps([operation]))
    metadata = {"name": "first", "values": [1]}
    patchset.write_text(
        json.dumps(
            {
                "metadata": {
                    "references": {"hepdata": "ins0"},
                    "description": "one point",
                    "digests": {"sha256": digest(WORKSPACE)},
                    "labels": ["mass"],
                },
                "patches": [{"metadata": metadata, "patch": [operation]}],
                "version": "1.0.0",
            }
        )
    )
    parsed = []
    parse = json_source._parse
    monkeypatch.setattr(
        json_source,
        "_parse",
        lambda text, name: parsed.append(name) or parse(text, name),
    )
    model = load_document(workspace, patches=[f"{patchset}:first", str(patch)])
    np.testing.assert_array_equal(model.observation["main"], [6.0])
    assert len(parsed) == len(set(parsed)) == 3
