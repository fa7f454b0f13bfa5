"""Files of template fits: nothing is lost, and h5py alone reads all of it."""

import dataclasses

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError, MissingFileError
from everwillow.likelihood.histograms import Axis
from everwillow.models.templates import load, write
from everwillow.models.templates.booking.builder import TemplateBuilder
from tests.models.templates import cases


h5py = pytest.importorskip("h5py")


def same(ours, theirs):
    """Return whether two values of a specification are the same, types and all."""
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        return True
    if dataclasses.is_dataclass(ours) and hasattr(ours, "__slots__"):
        return type(ours) is type(theirs) and all(
            same(getattr(ours, f.name), getattr(theirs, f.name))
            for f in dataclasses.fields(ours)
        )
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(
            same(ours[k], theirs[k]) for k in ours
        )
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def everything():
    """Return a builder that has something of everything."""
    out = TemplateBuilder("normal", sparse=True, allow_negative=True)
    axes = [("x", [0.0, 1.0, 2.0]), Axis("member", labels=(3, 1))]
    out.add_channel(axes, "a/b é", flow=True)
    out.add_channel([("c", ["lo", "hi"])], "gen", masked=True)
    out.add_channel([], "single")
    out.add_process(np.arange(8.0).reshape(4, 2) - 1, "p%", "a/b é", signal=True)
    out.add_process([1.0, 2.0], "p%", "gen", signal=True)
    out.add_process(3.0, "q", "single", variances=0.25)
    up, down = np.full((4, 2), 3.0), np.full((4, 2), 1.0)
    out.add_systematic(
        (up, down), "s", "p%", "a/b é", symmetrize=None, groups=["g", "h"]
    )
    out.add_norm_systematic("n", "q", "single", 1.1, constrained=False, noi=True)
    out.add_norm_systematic("none", "q", "single", 1.0)
    out.add_data(np.arange(8.0).reshape(4, 2) + 1, "a/b é", variances=np.ones((4, 2)))
    out.add_data(2.0, "single")
    out.add_data_covariance(np.eye(9) + 0.01)
    for name in ("toy/1", "other"):
        out.add_pseudodata(np.ones((4, 2)), name, "a/b é")
        out.add_pseudodata(7.0, name, "single")
    out.add_external_likelihood({"n": 0.5}, {("n", "s"): 0.1, ("n", "n"): 1.0})
    moved = np.arange(16.0).reshape(4, 2, 2)
    out.add_beta_variations(moved, "p%", "a/b é", "gen")
    out.add_auxiliary(
        "m/ap",
        {
            "weights": np.arange(6, dtype=np.int16).reshape(2, 3),
            "names": ["a", "b\u00e9ta"],
            "flags": np.array([True, False]),
            "scalar": 2.5,
        },
    )
    out.add_auxiliary("empty", {})
    return out


@pytest.mark.parametrize("name", [*cases.NAMES, "everything"])
def test_what_is_written_is_read(name, tmp_path):
    builder = everything() if name == "everything" else cases.builder(name)
    builder.write(tmp_path / "fit.hdf5")
    assert same(builder.spec(), load(tmp_path / "fit.hdf5"))
    assert list(tmp_path.iterdir()) == [tmp_path / "fit.hdf5"]


def test_large_arrays_are_compressed_without_loss(tmp_path):
    builder = TemplateBuilder()
    builder.add_channel([("x", np.arange(5001.0))], "ch")
    values = np.random.default_rng(3).uniform(1, 2, 5000)
    builder.add_process(values, "p", "ch")
    builder.add_norm_systematic("n", "p", "ch", 1.1)
    builder.write(tmp_path / "fit.hdf5")
    assert same(builder.spec(), load(str(tmp_path / "fit.hdf5")))
    with h5py.File(tmp_path / "fit.hdf5") as file:
        assert file["responses/average"].compression == "gzip"


def test_a_file_is_read_with_h5py_alone(tmp_path):
    """Yields one error up, computed from nothing but the documented layout."""
    cases.builder("asym").write(tmp_path / "fit.hdf5")
    with h5py.File(tmp_path / "fit.hdf5") as file:
        assert file.attrs["format"] == "everwillow templates"
        assert file.attrs["version"] == 1
        assert file.attrs["systematic_type"] == "log_normal"
        channel = file["channels/0"]
        assert channel.attrs["name"] == "ch0"
        assert not channel.attrs["masked"]
        axes = [channel[f"axes/{i}"] for i in range(len(channel["axes"]))]
        assert [axis.attrs["name"] for axis in axes] == ["x", "cat"]
        shape = tuple(len(axis["edges"]) - 1 for axis in axes)
        processes = list(file["processes"].asstr())
        names = list(file["systematics/name"].asstr())
        nominal = file["templates/nominal"][()]
        bins, which = file["templates/bin"][()], file["templates/process"][()]
        k = names.index("flat_bkg_shape")
        part = slice(*file["responses/start"][k : k + 2])
        rows = file["responses/row"][part]
        response = file["responses/average"][part] + file["responses/half"][part]
    nominal[rows] *= np.exp(response)
    varied = np.zeros(shape)
    mine = (which == processes.index("flat_bkg")) & (bins < varied.size)
    varied.ravel()[bins[mine]] = nominal[mine]
    np.testing.assert_allclose(varied, cases.arrays()["flat_shape_up"], rtol=1e-13)


def test_everything_in_a_file_is_described_and_plain(tmp_path):
    """No pickles, opaque bytes or enumerations: numbers and text, each with a word."""
    everything().write(tmp_path / "fit.hdf5")
    seen = []

    def visit(name, item):
        seen.append(name)
        assert item.attrs["description"]
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            assert item.dtype.kind in "iuf" or text.encoding == "utf-8"

    with h5py.File(tmp_path / "fit.hdf5") as file:
        assert file.attrs["description"]
        file.visititems(visit)
    assert {"auxiliary/0/1", "channels/0/axes/1/labels", "beta_variations"} <= set(seen)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "fit.hdf5"
    cases.builder("base").write(path)
    before = path.read_bytes()
    spec = cases.builder("asym").spec()
    # A value that HDF5 cannot hold stops the writing in the middle.
    broken = dataclasses.replace(spec, auxiliary={"a": {"k": np.array([object()])}})
    with pytest.raises(TypeError):
        write(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_none(tmp_path):
    path = tmp_path / "fit.hdf5"
    with pytest.raises(MissingFileError, match=r"fit.hdf5: there is no such file"):
        load(path)
    path.write_bytes(b"nothing of this")
    with pytest.raises(ArgumentValueError, match=r"fit.hdf5: the file is damaged"):
        load(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "other"
    with pytest.raises(ArgumentValueError, match="'format' is 'other'"):
        load(path)


def spoil(path, change):
    """Change a file of the reference model."""
    cases.builder("asym").write(path)
    with h5py.File(path, "r+") as file:
        change(file)


def _newer(file):
    file.attrs["version"] = 2


def _other_kind(file):
    file.attrs["systematic_type"] = "logistic"


def _no_templates(file):
    del file["templates"]


def _no_such_row(file):
    file["responses/row"][0] = 10**6


def _unsorted(file):
    file["templates/bin"][0] = 20


def _negative_start(file):
    file["responses/start"][1] = -1


def _no_such_process(file):
    file["templates/process"][0] = 3


def _short_data(file):
    del file["data/observed"]
    file["data/observed"] = np.ones(3)


def _not_finite(file):
    file["responses/average"][3] = np.inf


def _negative_variance(file):
    file["templates/variance"][0] = -1.0


def _twice(file):
    file["processes"][1] = "signal"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_newer, "version 2 of the format.*Install a newer one"),
        (_other_kind, "'systematic_type' is 'logistic'"),
        (_no_templates, "damaged, or holds no template fit .KeyError"),
        (_no_such_row, "responses have rows that do not exist"),
        (_unsorted, "templates are not sorted"),
        (_negative_start, "starts of the responses are not in order"),
        (_no_such_process, "templates have processes that do not exist"),
        (_short_data, "the data are not those of the fitted bins"),
        (_twice, "names of processes repeat"),
        (_not_finite, "numbers that are not finite"),
        (_negative_variance, "variances of the templates are negative"),
    ],
)
def test_damaged_files_say_what_is_wrong(change, message, tmp_path):
    path = tmp_path / "fit.hdf5"
    spoil(path, change)
    with pytest.raises(ArgumentValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_titles_of_axes_are_kept(tmp_path):
    hist = pytest.importorskip("hist")
    mass = hist.axis.Regular(2, 100, 180, name="mjj", label="m(jj) [GeV]")
    kind = hist.axis.StrCategory(["a", "b"], name="kind", label="Kind")
    plain = hist.axis.Regular(2, 0, 1, name="x")
    builder = TemplateBuilder()
    builder.add_channel([mass, kind, plain], "ch", flow=True)
    builder.add_process(np.ones((4, 2, 4)), "p", "ch", signal=True)
    builder.write(tmp_path / "fit.hdf5")
    (channel,) = load(tmp_path / "fit.hdf5").layout.channels
    assert [axis.title for axis in channel.axes] == ["m(jj) [GeV]", "Kind", ""]
    # Histograms of other titles are booked there all the same.
    assert channel.axes[1] == Axis("kind", labels=("a", "b"))
