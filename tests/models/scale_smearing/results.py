"""Results with known numbers, for the tests of outputs."""

import numpy as np

from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import SasParameters


def made_parameters(edges, *, seed=1, lost=(), resp=None, **options):
    """Return parameters of random numbers.

    Args:
        edges: The edges of each variable.
        seed: Seed of the numbers.
        lost: The categories without a number.
        resp: The responses, instead of random ones.
        **options: Other attributes.
    """
    categories = Categories.of(edges)
    rng = np.random.default_rng(seed)
    size = categories.size

    def numbers(mean, width):
        array = rng.normal(mean, width, size)
        array[list(lost)] = np.nan
        return array

    chosen = numbers(1.0, 0.01) if resp is None else np.array(resp, float)
    status = ["fitted"] * size
    for place in lost:
        status[place] = "no region"
    made = {
        "resp": chosen,
        "reso": abs(numbers(0.015, 0.003)),
        "eresp": abs(numbers(1e-3, 2e-4)),
        "ereso": abs(numbers(2e-3, 4e-4)),
        "eresp_mc": abs(numbers(4e-4, 1e-4)),
        "ereso_mc": abs(numbers(9e-4, 1e-4)),
        "status": tuple(status),
        "reso_upper": np.full(size, np.nan),
    }
    return SasParameters(categories, **(made | options))


def centres(categories):
    """Return a point in each category, by variable; ends may be infinite."""
    points = []
    for edges in categories.edges:
        low, high = np.array(edges[:-1]), np.array(edges[1:])
        low = np.where(np.isinf(low), high - 1, low)
        high = np.where(np.isinf(high), low + 2, high)
        points.append((low + high) / 2)
    grid = np.meshgrid(*points, indexing="ij")
    return dict(zip(categories.names, map(np.ravel, grid), strict=True))
