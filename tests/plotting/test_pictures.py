"""Figures look as they did when somebody looked at them."""

import subprocess
import sys

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import matplotlib as mpl
from matplotlib import image

from everwillow import plotting
from tests.plotting.pictures import FOLDER, OPTIONS, PICTURES, drawn


# Versions of the font library move edges of letters by a part of a pixel, which is
# 0.01 to 0.03; a curve that is missing is 0.05 and more (see the second test).
TOLERANCE = 0.045


def distance(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("make", PICTURES, ids=lambda make: make.__name__)
def test_the_picture_is_the_stored_one(make):
    stored = image.imread(FOLDER / f"{make.__name__}.png")[..., :3]
    picture = drawn(make())
    assert picture.shape == stored.shape
    assert distance(picture, stored) < TOLERANCE


@pytest.mark.parametrize("make", PICTURES, ids=lambda make: make.__name__)
def test_a_figure_is_the_same_when_it_is_drawn_again(make):
    figure = make()
    first = drawn(figure)
    # Axes of a fixed aspect find their places in a few rounds.
    assert distance(first, drawn(figure)) < TOLERANCE


def test_another_picture_is_noticed():
    make = next(p for p in PICTURES if p.__name__ == "convergence")
    stored = drawn(make())
    other = plotting.convergence(nlls=[1e4, 900.0, 200.0, 50.1, 5.5, 5.0], **OPTIONS)
    assert distance(drawn(other), stored) > TOLERANCE


def test_figures_are_known_to_no_global_state():
    before = dict(mpl.rcParams)
    for make in PICTURES[:2]:
        make()
    assert dict(mpl.rcParams) == before
    script = (
        "import sys, everwillow.plotting as p\n"
        "p.pulls(names=['a'], values=[1.0], errors=[1.0])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_matplotlib_the_extra_is_named():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import everwillow as ew\n"
        "try:\n"
        "    import everwillow.plotting\n"
        "except ImportError as error:\n"
        "    assert isinstance(error, ew.EverwillowError)\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert 'pip install ".[plot]"' in done.stdout
