"""What a user may hand to a binned model, and what is said of the rest."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ConflictError
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    ChannelSpec,
    ConstraintSpec,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
)
from everwillow.models.binned import BinnedModel
from everwillow.models.histfactory import PatchSet, digest, from_pyhf_patches


SIGNAL = SampleSpec("signal", np.array([5.0, 5.0]), (Scale("mu"),))
BACKGROUND = SampleSpec(
    "background", np.array([40.0, 60.0]), (NormVariation("norm", 0.9, 1.1),)
)
MODEL = BinnedModel.from_spec(
    BinnedSpec(
        (ChannelSpec("SR", np.array([53.0, 57.0]), (SIGNAL, BACKGROUND)),),
        (
            ParameterSpec("mu", 1.0, 0.0, 10.0),
            ParameterSpec(
                "norm", 0.0, -5.0, 5.0, False, ConstraintSpec("normal", 0, 1)
            ),
        ),
        poi="mu",
    )
)


@pytest.mark.slow
def test_a_parameter_may_be_fixed_beyond_its_range():
    result = ew.fit(MODEL, fixed={"mu": 12.0})
    assert result.params["mu"] == 12.0
    here = result.params.to_pytree()
    np.testing.assert_allclose(result.nll, MODEL.nll(here), rtol=1e-13)
    assert result.nll > ew.fit(MODEL, fixed={"mu": 10.0}).nll + 1


@pytest.mark.parametrize(
    "main", [np.array([50.0]), 50.0, np.ones(3), {"SR": np.ones(2)}]
)
def test_counts_of_another_shape(main):
    observation = {"main": main, "aux": MODEL.observation["aux"]}
    with pytest.raises(ValueError, match=r"vector of shape \(2,\), got"):
        MODEL.nll(MODEL.state, observation)
    with pytest.raises(ValueError, match=r"vector of shape \(2,\), got"):
        ew.fit(MODEL, observation=observation)


def test_main_data_alone_are_no_observation():
    with pytest.raises(TypeError, match=r"model\.observation"):
        ew.fit(MODEL, observation=np.array([50.0, 60.0]))


@pytest.mark.slow
def test_auxiliary_observations_may_be_a_dictionary():
    aux = {"norm": 0.5}
    moved = {**MODEL.observation, "aux": aux}
    by_hand = MODEL.main_nll(MODEL.state.to_pytree(), moved["main"])
    constraint = MODEL.constraints["norm"].nll(0.0, 0.5)
    np.testing.assert_allclose(MODEL.nll(MODEL.state, moved), by_hand + constraint)


def test_text_is_short():
    assert str(MODEL) == (
        "BinnedModel(1 channels, 2 bins, 2 samples, 2 parameters, poi='mu')"
    )
    assert repr(MODEL.observation["aux"]).startswith("AuxTable({'norm': ")
    assert "lower" in repr(MODEL.bounds)
    assert "Normal" in repr(MODEL.constraints)


def test_a_table_with_anything_in_it_has_text():
    aux = MODEL.observation["aux"]
    odd = type(aux)(aux.layout, (1,), {})  # pyright: ignore[reportArgumentType]
    assert repr(odd) == "AuxTable(1 entries)"


def test_a_batch_of_patches_verifies_the_workspace():
    modifier = {"name": "mu", "type": "normfactor", "data": None}
    sample = {"name": "signal", "data": [5.0], "modifiers": [modifier]}
    workspace = {
        "channels": [{"name": "SR", "samples": [sample]}],
        "observations": [{"name": "SR", "data": [6.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    patches = PatchSet(
        {
            "metadata": {
                "name": "grid",
                "description": "one point",
                "digests": {"sha256": digest(workspace)},
                "labels": ["mass"],
                "references": {"hepdata": "ins1234567"},
            },
            "patches": [
                {
                    "metadata": {"name": "m100", "values": [100]},
                    "patch": [
                        {
                            "op": "replace",
                            "path": "/channels/0/samples/0/data",
                            "value": [7.0],
                        }
                    ],
                }
            ],
            "version": "1.0.0",
        }
    )
    batch = from_pyhf_patches(workspace, patches)
    np.testing.assert_allclose(batch[0].expected({"mu": jnp.ones(())}), [7.0])
    other = {**workspace, "observations": [{"name": "SR", "data": [8.0]}]}
    with pytest.raises(ConflictError):
        from_pyhf_patches(other, patches)
