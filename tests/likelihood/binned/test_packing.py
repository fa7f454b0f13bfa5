"""What is packed how: factors of bins, their spellings, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from everwillow._errors import ShapeMismatchError, UnknownKeyError
from everwillow.likelihood.binned.places import PlaceTable
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Derived,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.binned.tail import assign_gammas
from everwillow.models.binned import BinnedModel
from tests.likelihood.binned.evaluation import evaluated
from tests.likelihood.binned.specs import gammas, product, sized


NOMINAL = np.array([10.0, 20.0, 30.0])
MU = ParameterSpec("mu", 1.0)


def channel(*effect_lists, name="A", nominal=NOMINAL):
    """Return one channel with a sample for each list of effects."""
    samples = tuple(
        SampleSpec(f"s{i}", nominal, tuple(acting))
        for i, acting in enumerate(effect_lists)
    )
    return ChannelSpec(name, np.round(1.1 * nominal * len(samples)), samples)


def places(spec):
    """Return the table of places that the model makes."""
    entries = sorted(spec.parameters, key=lambda entry: entry.name)
    shapes = {entry.name: np.shape(entry.start) for entry in entries}
    lengths = [int(np.prod(shape)) for shape in shapes.values()]
    starts = dict(zip(shapes, np.cumsum([0, *lengths]).tolist(), strict=False))
    return PlaceTable(starts, shapes, spec.derived)


def packed(spec):
    return BinnedModel.from_spec(spec).terms.packed


def tails(spec):
    """Return for each bin the place of its tail parameter, and the split channels."""
    found = assign_gammas(spec, places(spec))
    return found.tail_of_bin.tolist(), set(found.split)


def test_a_factor_of_each_bin_is_a_tail():
    spec = BinnedSpec(
        (channel([BinScale("g")], [Scale("mu"), BinScale("g")]),),
        (gammas("g", 3), MU),
    )
    assert tails(spec) == ([0, 1, 2], set())
    assert packed(spec).places.whole_bins


def test_a_factor_of_some_samples_is_a_tail_too():
    spec = BinnedSpec((channel([BinScale("g")], [Scale("mu")]),), (gammas("g", 3), MU))
    assert tails(spec) == ([0, 1, 2], set())
    assert not packed(spec).places.whole_bins


def test_of_two_factors_the_one_with_more_samples_is_the_tail():
    spec = BinnedSpec(
        (channel([BinScale("one"), BinScale("two")], [BinScale("two")]),),
        (gammas("one", 3), gammas("two", 3)),
    )
    assert tails(spec) == ([3, 4, 5], {"A"})


@pytest.mark.parametrize(
    ("effects", "derived"),
    [
        ([BinScale("g"), BinScale("g")], {}),
        ([BinScale("g"), Scale("g[1]")], {}),
        ([BinScale("g"), NormVariation("g[1]", 0.9, 1.1)], {}),
        ([BinScale("g"), Scale("d")], {"d": Derived(("g[1]", "mu"), product)}),
        ([BinScale(("g[1]", "g[1]", "g[1]"))], {}),
    ],
    ids=["twice", "as a factor", "as a systematic", "derived from", "in all bins"],
)
def test_what_acts_elsewhere_too_is_no_tail(effects, derived):
    spec = BinnedSpec((channel(effects),), (gammas("g", 3), MU), derived)
    assert 1 not in tails(spec)[0]


def test_what_two_channels_share_is_no_tail():
    spec = BinnedSpec(
        (channel([BinScale("g")]), channel([BinScale("g")], name="B")),
        (gammas("g", 3),),
    )
    assert tails(spec) == ([-1] * 6, {"A", "B"})


def gammas_in_words(words):
    """Return one likelihood whose three factors of bins are spelled in some way."""
    width = np.array([0.1, 0.2, 0.3])
    if words == "an array":
        parameters = (
            ParameterSpec(
                "g", np.ones(3), constraint=ConstraintSpec("normal", np.ones(3), width)
            ),
        )
        spelled = "g"
    elif words == "labels":
        (parameters, _), spelled = gammas_in_words("an array"), ("g[0]", "g[1]", "g[2]")
    else:
        names = ("g0", "g1", "g2")
        parameters = tuple(
            ParameterSpec(n, 1.0, constraint=ConstraintSpec("normal", 1.0, float(w)))
            for n, w in zip(names, width, strict=True)
        )
        spelled = names
    return parameters, spelled


@pytest.mark.parametrize("words", ["labels", "scalars"])
def test_spellings_of_gammas_are_one_likelihood(words):
    vector = np.array([0.9, 1.2, 1.05, 1.3])
    found = []
    for words_ in ("an array", words):
        parameters, spelled = gammas_in_words(words_)
        made = channel([BinScale(spelled), Scale("mu")], [BinScale(spelled)])
        spec = BinnedSpec((made,), (*parameters, MU))
        assert tails(spec) == ([0, 1, 2], set())
        found.append(evaluated(BinnedModel.from_spec(spec), vector))
    for name in found[0]:
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-13)


def test_an_array_of_one_element_stands_for_its_element():
    one = np.array([12.0])
    scaled = channel([BinScale("g"), Scale("mu")], [], nominal=one)
    by_name = channel([Scale("g"), Scale("mu")], [], nominal=one)
    found = [
        evaluated(
            BinnedModel.from_spec(BinnedSpec((made,), (gammas("g", 1), MU))), [1.1, 0.7]
        )
        for made in (scaled, by_name)
    ]
    for name in found[0]:
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-13)


def test_a_channel_in_two_is_the_same_likelihood():
    wide = np.arange(10.0, 16.0)
    acting = [ShapeVariation("a", 0.9 * wide, 1.2 * wide), Scale("mu")]
    a = ParameterSpec("a", 0.0, constraint=ConstraintSpec("normal", 0.0, 1.0))
    whole = BinnedSpec((channel(acting, nominal=wide),), (a, MU))
    halves = tuple(
        channel(
            [ShapeVariation("a", 0.9 * part, 1.2 * part), Scale("mu")],
            name=name,
            nominal=part,
        )
        for name, part in (("A", wide[:2]), ("B", wide[2:]))
    )
    found = [
        evaluated(BinnedModel.from_spec(spec), [0.4, 0.9])
        for spec in (whole, dataclasses.replace(whole, channels=halves))
    ]
    for name in found[0]:
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-12)


def test_memory_goes_with_the_effects_that_exist():
    """Not with parameters times samples times bins."""

    def size(effects):
        spec = sized(10, 5, effects, bins=20)
        bare = dataclasses.replace(
            spec,
            channels=tuple(
                dataclasses.replace(
                    c,
                    samples=tuple(
                        dataclasses.replace(s, effects=s.effects[i % 4 :: 40])
                        for i, s in enumerate(c.samples)
                    ),
                )
                for c in spec.channels
            ),
        )
        return sum(leaf.nbytes for leaf in jax.tree.leaves(packed(bare)))

    # Two effects on each sample, of 40 or of 80 parameters.
    assert size(40) < 2.5 * size(20)


@pytest.mark.parametrize(
    "effect",
    [
        Scale("nu"),
        BinScale("nu"),
        BinScale(("g[0]", "g[1]", "nu")),
        BinScale(("g[0]", "g[1]", "g[3]")),
        NormVariation("nu", 0.9, 1.1),
        ShapeVariation("nu", NOMINAL, NOMINAL),
    ],
)
def test_unknown_parameters_are_named(effect):
    spec = BinnedSpec((channel([effect]),), (gammas("g", 3), MU))
    with pytest.raises(UnknownKeyError, match=r"nu|g\[3\]"):
        BinnedModel.from_spec(spec)


def test_unknown_inputs_of_derived_numbers_are_named():
    spec = BinnedSpec(
        (channel([Scale("d")]),), (MU,), {"d": Derived(("mu", "nu"), product)}
    )
    with pytest.raises(UnknownKeyError, match="nu"):
        BinnedModel.from_spec(spec)


@pytest.mark.parametrize("effect", [BinScale("g"), BinScale(("mu", "mu"))])
def test_factors_of_another_number_of_bins_are_refused(effect):
    spec = BinnedSpec((channel([effect]),), (gammas("g", 2), MU))
    with pytest.raises(ShapeMismatchError, match=r"'A'.*2 elements for 3 bins"):
        BinnedModel.from_spec(spec)


def test_an_array_cannot_stand_for_a_number():
    spec = BinnedSpec((channel([Scale("g")]),), (gammas("g", 3),))
    with pytest.raises(ShapeMismatchError, match="'g'"):
        BinnedModel.from_spec(spec)


@pytest.mark.parametrize(
    ("nominal", "effect"),
    [
        (NOMINAL[:2], Scale("mu")),
        (NOMINAL, ShapeVariation("mu", NOMINAL[:2], NOMINAL)),
        (NOMINAL, ShapeVariation("mu", NOMINAL, np.append(NOMINAL, 1.0))),
        (NOMINAL, ShapeVariation("mu", NOMINAL[:1], NOMINAL)),
    ],
    ids=["nominal", "down", "up", "one for all"],
)
def test_templates_of_another_number_of_bins_are_refused(nominal, effect):
    sample = SampleSpec("s", nominal, (effect,))
    spec = BinnedSpec((ChannelSpec("A", NOMINAL, (sample,)),), (MU,))
    with pytest.raises(ShapeMismatchError, match="'A'"):
        BinnedModel.from_spec(spec)
