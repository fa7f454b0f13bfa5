"""Files of all kinds are recognised by their content, and opened by one function."""

import json

import numpy as np
import pytest

from everwillow import io
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.model import AbstractModel
from everwillow.models import hs3, json_source, nsbi
from everwillow.models.histfactory import digest, from_pyhf
from everwillow.models.templates import TemplateBuilder, write, writing
from everwillow.workflows.documents import KINDS, load_document, open_document
from everwillow.workflows.templates import files
from tests.models.nsbi import small
from tests.models.scale_smearing import configurations


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


def test_density_ratios_are_told_apart_from_pyhf(tmp_path):
    channels = [{**WORKSPACE["channels"][0], "type": "binned"}]
    config = {"poi": "mu", "parameters": [{"name": "mu", "inits": [1.0]}]}
    measurements = [{"name": "m", "config": config}]
    ratios = {**WORKSPACE, "channels": channels, "measurements": measurements}
    file = tmp_path / "ratios.json"
    file.write_text(json.dumps(ratios))
    document = open_document(file)
    assert document.kind == "nsbi"
    assert document.folder == tmp_path
    model = load_document(file, poi="mu", storage="float32")
    assert model.channels == (("SR", 1),)
    with pytest.raises(SpecificationError, match=r"nsbi\.load"):
        from_pyhf(file)
    with pytest.raises(SpecificationError, match=r"nsbi\.load"):
        hs3.load(file)
    with pytest.raises(SpecificationError, match="from_pyhf"):
        nsbi.load(WORKSPACE)
    with pytest.raises(ArgumentTypeError, match=r"normalize.*pyhf workspace"):
        load_document(WORKSPACE, normalize=False)
    with pytest.raises(UnknownKeyError, match="Did you mean 'mu'"):
        load_document(file, poi="mue")
    with pytest.raises(ArgumentValueError, match="expected one of 'float64'"):
        load_document(file, storage="float16")


@pytest.mark.parametrize(
    "text",
    ["General:\n", "# A comment.\n\nRegions: []\n", "--- \na: 1\n", "%YAML 1.2\n"],
)
def test_configurations_are_recognised_by_their_first_line(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text)
    assert open_document(file).kind == "nsbi configuration"
    with pytest.raises(SpecificationError, match=r"is YAML.*everwillow nsbi"):
        open_document(file, ("pyhf", "hs3"))
    with pytest.raises(SpecificationError, match=r"YAML.*WorkspaceBuilder"):
        nsbi.load_workspace(file)


def test_configurations_of_scale_and_smearing_are_told_by_their_keys(tmp_path):
    file = configurations.write(tmp_path)
    document = open_document(file)
    assert document.kind == "sas configuration"
    assert document.load().nominal.weight == "w"
    usage = r"expected a .*configuration of density ratios.*everwillow sas fit"
    with pytest.raises(ArgumentValueError, match=usage):
        open_document(file, ("nsbi", "nsbi configuration"))
    with pytest.raises(SpecificationError, match=r"is YAML.*everwillow sas fit"):
        open_document(file, ("pyhf", "hs3"))
    other = small.write(tmp_path)
    with pytest.raises(ArgumentValueError, match=r"of scale and .*everwillow nsbi fit"):
        open_document(other, ("sas configuration",))


def test_a_configuration_becomes_a_model(tmp_path):
    file = small.write(tmp_path)
    model = load_document(file, normalize=False, poi="JES")
    direct = nsbi.load(nsbi.WorkspaceBuilder(file).build(), normalize=False)
    assert model.poi == "JES"
    assert float(model.nll(model.state)) == float(direct.nll(direct.state))


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
