"""Classic problems: solved from near, and never a false success from afar."""

import functools as ft

import numpy as np
import pytest

from everwillow.solvers.termination import StopCode
from tests.cases.more_garbow_hillstrom import CLASSIC, EXTRA, PROBLEMS, Problem
from tests.solvers.driver import Ending, evaluator, is_minimum, minimise


@ft.cache
def compiled(name: str):
    problem = PROBLEMS[name]
    return evaluator(problem.residuals, len(problem.x0))


def run(problem: Problem, scale: float, *, structured: bool) -> Ending:
    return minimise(compiled(problem.name), problem.start(scale), structured=structured)


def check_no_false_success(problem: Problem, ending: Ending) -> None:
    if ending.code != StopCode.MINIMUM:
        return
    assert not problem.singular
    assert is_minimum(compiled(problem.name), ending.x)
    for plateau in problem.plateaus:
        assert abs(2 * ending.nll - plateau) > 1e-5 * plateau


def solved(problem: Problem, ending: Ending) -> bool:
    wanted = StopCode.FLAT if problem.singular else StopCode.MINIMUM
    value = 2 * ending.nll
    known = problem.nearest_minimum(value).value
    return ending.code == wanted and abs(value - known) <= 1e-7 * known + 1e-12


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("problem", CLASSIC, ids=lambda p: p.name)
def test_solved_from_the_standard_start(problem, structured):
    ending = run(problem, 1.0, structured=structured)
    check_no_false_success(problem, ending)
    assert solved(problem, ending)


@pytest.mark.parametrize("scale", [10.0, 100.0])
@pytest.mark.parametrize("problem", CLASSIC, ids=lambda p: p.name)
def test_no_false_success_from_afar(problem, scale):
    for structured in (False, True):
        ending = run(problem, scale, structured=structured)
        check_no_false_success(problem, ending)


@pytest.mark.parametrize("structured", [False, True])
def test_no_minimum_where_the_curvature_vanishes(structured):
    """Rounding makes the last steps short, and two points next to each other alike."""
    problem = PROBLEMS["powell_singular"]
    for scale in np.random.default_rng(0).uniform(0.5, 120, 30):
        ending = run(problem, float(scale), structured=structured)
        assert ending.code == StopCode.FLAT
        assert ending.evaluations < 60


@pytest.mark.slow
@pytest.mark.parametrize("problem", EXTRA, ids=lambda p: p.name)
def test_more_problems(problem):
    for structured in (False, True):
        for scale in (1.0, 10.0, 100.0):
            ending = run(problem, scale, structured=structured)
            check_no_false_success(problem, ending)
            assert scale > 1 or solved(problem, ending)
