"""Figures keep the settings with which they were made, whoever saves them."""

import io
import pickle

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import matplotlib as mpl
from matplotlib import image

from everwillow import plotting


def saved(figure, **options):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    buffer.seek(0)
    return image.imread(buffer)


def steps():
    return plotting.convergence(nlls=[9.0, 2.0, 1.0], size=(2, 1.5))


def test_a_figure_is_saved_with_300_dots_an_inch():
    assert saved(steps()).shape[:2] == (450, 600)
    assert saved(steps(), dpi=50).shape[:2] == (75, 100)
    fine = plotting.convergence(
        nlls=[9.0, 2.0, 1.0], size=(2, 1.5), style={"savefig.dpi": 100}
    )
    assert saved(fine).shape[:2] == (150, 200)


def test_settings_of_the_caller_do_not_change_a_finished_figure():
    figure = steps()
    before = saved(figure, dpi=100)
    others = {"font.sans-serif": ["DejaVu Sans"], "font.size": 20, "savefig.dpi": 30}
    with mpl.rc_context({**others, "font.family": "monospace"}):
        after = saved(figure, dpi=100)
        assert saved(figure).shape[:2] == (450, 600)
    np.testing.assert_allclose(before, after, atol=0.03)


def test_a_figure_survives_pickling_with_its_settings():
    again = pickle.loads(pickle.dumps(steps()))
    assert saved(again).shape[:2] == (450, 600)
