"""Classic problems for minimisers, with their published minima.

J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization
software", ACM Trans. Math. Softw. 7 (1981) 17-41. Every problem is a vector of
residuals ``r(x)``; the published numbers are those of ``F(x) = sum(r**2)``.

The points of the minima are polished to double precision here, the paper gives
values to six digits; ``test_cases.py`` holds the two against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A value of ``F`` and the place where its gradient vanishes."""

    value: float
    point: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One test problem: residuals, standard start and known minima of ``F``.

    ``minima`` is sorted by value and need not be complete: far starts may lead to
    local minima nobody listed, so judge a reported minimum by its gradient and
    Hessian. ``saddles`` are stationary points that the literature lists as minima
    although ``F`` falls in some direction. ``plateaus`` are values of ``F`` that
    are approached at infinity (to six digits); success there is false. ``singular``
    says that the Hessian is singular at the best minimum.
    """

    name: str
    residuals: Callable[[jax.Array], jax.Array]
    x0: np.ndarray
    minima: tuple[StationaryPoint, ...]
    singular: bool = False
    saddles: tuple[StationaryPoint, ...] = ()
    plateaus: tuple[float, ...] = ()

    def sum_of_squares(self, x: jax.Array) -> jax.Array:
        """Return ``F(x)``, the sum of squared residuals, a scalar."""
        return jnp.sum(self.residuals(x) ** 2)

    def nll(self, x: jax.Array) -> jax.Array:
        """Return ``F(x) / 2``, the negative log-likelihood of unit Gaussians."""
        return 0.5 * self.sum_of_squares(x)

    def start(self, scale: float = 1.0) -> np.ndarray:
        """Return the standard start times ``scale`` (customary: 1, 10, 100)."""
        return scale * self.x0

    def nearest_minimum(self, value: float) -> StationaryPoint:
        """Return the known minimum whose ``F`` is closest to ``value``."""
        return min(self.minima, key=lambda minimum: abs(minimum.value - value))


def _index(n: int) -> np.ndarray:
    """Return ``1.0, 2.0, ..., n``."""
    return np.arange(1, n + 1, dtype=float)


def _at(value: float, *point: float) -> StationaryPoint:
    return StationaryPoint(value, np.array(point, dtype=float))


def _rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def _freudenstein_roth(x: jax.Array) -> jax.Array:
    first = -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1]
    second = -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]
    return jnp.stack([first, second])


def _powell_badly_scaled(x: jax.Array) -> jax.Array:
    return jnp.stack([1e4 * x[0] * x[1] - 1, jnp.sum(jnp.exp(-x)) - 1.0001])


def _brown_badly_scaled(x: jax.Array) -> jax.Array:
    return jnp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def _beale(x: jax.Array) -> jax.Array:
    powers = jnp.cumprod(jnp.stack([x[1], x[1], x[1]]))
    return jnp.array([1.5, 2.25, 2.625]) - x[0] * (1 - powers)


def _helical_valley(x: jax.Array) -> jax.Array:
    # The published angle arctan(x2/x1)/2pi (+1/2 for x1 < 0) has its cut along
    # negative x2. Turned by a quarter, arctan2 has the same cut and stays smooth
    # at the start (-1, 0, 0), where the plain arctan2(x2, x1) would jump.
    theta = 0.25 + jnp.arctan2(-x[0], x[1]) / (2 * np.pi)
    radius = jnp.sqrt(x[0] ** 2 + x[1] ** 2)
    return jnp.stack([10 * (x[2] - 10 * theta), 10 * (radius - 1), x[2]])


# fmt: off
_BARD = np.array([
    0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34,
    2.10, 4.39,
])
_GAUSSIAN = np.array([
    0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989, 0.3521, 0.2420,
    0.1295, 0.0540, 0.0175, 0.0044, 0.0009,
])
_MEYER = np.array([
    34780.0, 28610.0, 23650.0, 19630.0, 16370.0, 13720.0, 11540.0, 9744.0, 8261.0,
    7030.0, 6005.0, 5147.0, 4427.0, 3820.0, 3307.0, 2872.0,
])
_KOWALIK_U = np.array([
    4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625,
])
_KOWALIK_Y = np.array([
    0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235,
    0.0246,
])
_OSBORNE_1 = np.array([
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751,
    0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490,
    0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406,
])
_OSBORNE_2 = np.array([
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746,
    0.679, 0.608, 0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649,
    0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395,
    0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653,
    0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739,
    0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054,
])
# fmt: on


def _bard(x: jax.Array) -> jax.Array:
    u = _index(15)
    v = 16 - u
    return jnp.subtract(_BARD, x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


def _gaussian(x: jax.Array) -> jax.Array:
    t = (8 - _index(15)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - _GAUSSIAN


def _meyer(x: jax.Array) -> jax.Array:
    return x[0] * jnp.exp(x[1] / (45 + 5 * _index(16) + x[2])) - _MEYER


def _gulf(x: jax.Array) -> jax.Array:
    # The paper prints |y m i x2|; y - x2 is what the known solution solves.
    # 99 points, as t = 1 puts 0**x3 (no derivative) at the solution itself.
    t = _index(99) / 100
    distance = jnp.abs(25 + (-50 * np.log(t)) ** (2 / 3) - x[1])
    zero = distance == 0
    power = jnp.where(zero, 0.0, jnp.where(zero, 1.0, distance) ** x[2])
    return jnp.exp(-power / x[0]) - t


def _box_3d(x: jax.Array) -> jax.Array:
    t = _index(10) / 10
    data = np.exp(-t) - np.exp(-10 * t)
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * data


def _powell_singular(x: jax.Array) -> jax.Array:
    return jnp.stack(
        [
            x[0] + 10 * x[1],
            np.sqrt(5) * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            np.sqrt(10) * (x[0] - x[3]) ** 2,
        ]
    )


def _wood(x: jax.Array) -> jax.Array:
    return jnp.stack(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            np.sqrt(90) * (x[3] - x[2] ** 2),
            1 - x[2],
            np.sqrt(10) * (x[1] + x[3] - 2),
            (x[1] - x[3]) / np.sqrt(10),
        ]
    )


def _kowalik_osborne(x: jax.Array) -> jax.Array:
    u = _KOWALIK_U
    model = x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])
    return jnp.subtract(_KOWALIK_Y, model)


def _brown_dennis(x: jax.Array) -> jax.Array:
    t = _index(20) / 5
    first = x[0] + t * x[1] - np.exp(t)
    second = x[2] + x[3] * np.sin(t) - np.cos(t)
    return jnp.square(first) + jnp.square(second)


def _osborne_1(x: jax.Array) -> jax.Array:
    t = 10 * (_index(33) - 1)
    model = x[0] + x[1] * jnp.exp(-t * x[3]) + x[2] * jnp.exp(-t * x[4])
    return jnp.subtract(_OSBORNE_1, model)


def _osborne_2(x: jax.Array) -> jax.Array:
    t = (_index(65) - 1) / 10
    peaks = x[1:4, None] * jnp.exp(-x[5:8, None] * (t[None, :] - x[8:11, None]) ** 2)
    model = x[0] * jnp.exp(-t * x[4]) + jnp.sum(peaks, axis=0)
    return jnp.subtract(_OSBORNE_2, model)


def _biggs_exp6(x: jax.Array) -> jax.Array:
    t = _index(13) / 10
    data = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    model = x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1])
    return model + x[5] * jnp.exp(-t * x[4]) - data


def _jennrich_sampson(x: jax.Array) -> jax.Array:
    i = _index(10)
    return jnp.subtract(2 + 2 * i, jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


def _watson(x: jax.Array) -> jax.Array:
    n = x.size
    t = (_index(29) / 29)[:, None] ** np.arange(n)[None, :]
    slope = t[:, :-1] @ (np.arange(1.0, n) * x[1:])
    ends = jnp.stack([x[0], x[1] - x[0] ** 2 - 1])
    return jnp.concatenate([slope - (t @ x) ** 2 - 1, ends])


def _penalty_1(x: jax.Array) -> jax.Array:
    return jnp.append(np.sqrt(1e-5) * (x - 1), jnp.sum(x**2) - 0.25)


def _penalty_2(x: jax.Array) -> jax.Array:
    n = x.size
    e, i = jnp.exp(x / 10), np.arange(2.0, n + 1)
    root = np.sqrt(1e-5)
    pairs = root * (e[1:] + e[:-1] - np.exp(i / 10) - np.exp((i - 1) / 10))
    singles = root * (e[1:] - np.exp(-0.1))
    norm = jnp.sum(np.arange(n, 0.0, -1) * x**2) - 1
    return jnp.concatenate([x[:1] - 0.2, pairs, singles, norm[None]])


def _variably_dimensioned(x: jax.Array) -> jax.Array:
    total = jnp.sum(_index(x.size) * (x - 1))
    return jnp.concatenate([x - 1, jnp.stack([total, total**2])])


def _trigonometric(x: jax.Array) -> jax.Array:
    n = x.size
    cosine = jnp.cos(x)
    return n - jnp.sum(cosine) + _index(n) * (1 - cosine) - jnp.sin(x)


def _brown_almost_linear(x: jax.Array) -> jax.Array:
    return jnp.append(x[:-1] + jnp.sum(x) - (x.size + 1), jnp.prod(x) - 1)


def _discrete_boundary_value(x: jax.Array) -> jax.Array:
    n = x.size
    step = 1 / (n + 1)
    inner = jnp.pad(x, 1)
    cubic = (x + _index(n) * step + 1) ** 3
    return 2 * x - inner[:-2] - inner[2:] + step**2 * cubic / 2


def _broyden_tridiagonal(x: jax.Array) -> jax.Array:
    inner = jnp.pad(x, 1)
    return (3 - 2 * x) * x - inner[:-2] - 2 * inner[2:] + 1


def _chebyquad(x: jax.Array) -> jax.Array:
    n = x.size
    z = 2 * x - 1

    def next_degree(pair, _):
        return (pair[1], 2 * z * pair[1] - pair[0]), jnp.mean(pair[1])

    _, means = jax.lax.scan(next_degree, (jnp.ones_like(z), z), length=n)
    i = np.arange(1, n + 1)
    # The integrals over [0, 1]: -1/(i^2 - 1) for even i, nothing for odd ones.
    integrals = np.where(i % 2 == 0, -1 / np.maximum(i**2 - 1, 1), 0.0)
    return means - integrals


def _linear_rank_1(x: jax.Array) -> jax.Array:
    return jnp.sum(_index(x.size) * x) * jnp.asarray(_index(10)) - 1


# fmt: off
CLASSIC: tuple[Problem, ...] = (
    Problem("rosenbrock", _rosenbrock, np.array([-1.2, 1.0]), (_at(0.0, 1, 1),)),
    Problem(
        "freudenstein_roth", _freudenstein_roth, np.array([0.5, -2.0]),
        (_at(0.0, 5, 4),
         _at(48.98425367924003, 11.412778986902094, -0.8968052532744765)),
    ),
    Problem(
        "powell_badly_scaled", _powell_badly_scaled, np.array([0.0, 1.0]),
        (_at(0.0, 1.0981593296997803e-05, 9.106146739866833),),
        plateaus=(1e-8,),
    ),
    Problem(
        "brown_badly_scaled", _brown_badly_scaled, np.array([1.0, 1.0]),
        (_at(0.0, 1e6, 2e-6),),
    ),
    Problem(
        "beale", _beale, np.array([1.0, 1.0]), (_at(0.0, 3, 0.5),),
        plateaus=(14.203125 - 13.875**2 / 14,),
    ),
    Problem(
        "helical_valley", _helical_valley, np.array([-1.0, 0.0, 0.0]),
        (_at(0.0, 1, 0, 0),),
    ),
    Problem(
        "bard", _bard, np.array([1.0, 1.0, 1.0]),
        (_at(0.008214877306578978,
             0.08241055974978895, 1.133036092029722, 2.3436951786425366),),
        plateaus=(17.4286933,),
    ),
    Problem(
        "gaussian", _gaussian, np.array([0.4, 1.0, 0.0]),
        (_at(1.1279327696189551e-08, 0.39895613783875655, 1.000019084487804, 0),),
    ),
    Problem(
        "meyer", _meyer, np.array([0.02, 4000.0, 250.0]),
        (_at(87.94585517064607,
             0.005609636482098059, 6181.346344641118, 345.223634568752),),
    ),
    Problem(
        "gulf", _gulf, np.array([5.0, 2.5, 0.15]), (_at(0.0, 50, 25, 1.5),),
        plateaus=(32.835,),
    ),
    # F also vanishes all along x1 = x2, x3 = 0.
    Problem(
        "box_3d", _box_3d, np.array([0.0, 10.0, 20.0]),
        (_at(0.0, 1, 10, 1), _at(0.0, 10, 1, -1)),
        plateaus=(0.0755887,),
    ),
    Problem(
        "powell_singular", _powell_singular, np.array([3.0, -1.0, 0.0, 1.0]),
        (_at(0.0, 0, 0, 0, 0),), singular=True,
    ),
    Problem(
        "wood", _wood, np.array([-3.0, -1.0, -3.0, -1.0]), (_at(0.0, 1, 1, 1, 1),)
    ),
    Problem(
        "kowalik_osborne", _kowalik_osborne, np.array([0.25, 0.39, 0.415, 0.39]),
        (_at(0.00030750560384923826, 0.19280693457903791, 0.1912823287343667,
             0.12305650692632089, 0.13606233068379472),),
        plateaus=(1.027343e-3,),
    ),
    Problem(
        "brown_dennis", _brown_dennis, np.array([25.0, 5.0, -5.0, -1.0]),
        (_at(85822.20162635628, -11.594439904762163, 13.203630051207202,
             -0.40343948817685954, 0.23677877445573628),),
    ),
    Problem(
        "osborne_1", _osborne_1, np.array([0.5, 1.5, -1.0, 0.01, 0.02]),
        (_at(5.464894697482701e-05, 0.3754100521069517, 1.9358469127123334,
             -1.4646871366133887, 0.012867534640057219, 0.022122699661672744),),
    ),
    Problem(
        "osborne_2", _osborne_2,
        np.array([1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5]),
        (_at(0.040137736293547784, 1.3099771546273007, 0.431553794602989,
             0.633661698960724, 0.5994305347859162, 0.7541832263280114,
             0.9042885798596337, 1.365811835237028, 4.823698817227156,
             2.3986848661317546, 4.568874597667672, 5.6753414705806415),),
        plateaus=(1.789814,),
    ),
    # The published local minimum 5.65565e-3 is a saddle: its Hessian has an
    # eigenvalue -9.8e-3 (and one that is zero, as x1 = x5 leaves only x3 + x6).
    Problem(
        "biggs_exp6", _biggs_exp6, np.array([1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
        (_at(0.0, 1, 10, 1, 5, 4, 3), _at(0.0, 4, 10, 3, 5, 1, 1)),
        saddles=(
            _at(0.005655649925499945, 1.7114159947195877, 17.683198180949056,
                1.1631436609188925, 5.1865615519934485, 1.7114159947195877,
                1.1631436609188925),
        ),
        plateaus=(0.306367,),
    ),
)

EXTRA: tuple[Problem, ...] = (
    Problem(
        "jennrich_sampson", _jennrich_sampson, np.array([0.3, 0.4]),
        (_at(124.36218235561478, 0.2578252136703641, 0.2578252136703641),),
        plateaus=(259.580190,),
    ),
    Problem(
        "watson_6", _watson, np.zeros(6),
        (_at(0.0022876700535524215, -0.015725086401458574, 1.0124348693691099,
             -0.2329916259567381, 1.26043008779961, -1.5137289227222823,
             0.992996432431136),),
    ),
    Problem(
        "watson_9", _watson, np.zeros(9),
        (_at(1.39976013808757e-06, -1.5307061147835447e-05, 0.999789703934285,
             0.014763963514966833, 0.1463423299283151, 1.000821095544154,
             -2.617731123037056, 4.104403142379473, -3.143612264266278,
             1.0526264042838158),),
    ),
    Problem(
        "penalty_1_4", _penalty_1, _index(4),
        (_at(2.2499775008999375e-05, *[0.2500074995875379] * 4),),
    ),
    Problem(
        "penalty_1_10", _penalty_1, _index(10),
        (_at(7.087651467090369e-05, *[0.15812230111311634] * 10),),
    ),
    Problem(
        "penalty_2_4", _penalty_2, np.full(4, 0.5),
        (_at(9.376293007355442e-06, 0.1999993333503804, 0.19131670099277254,
             0.48010148533262326, 0.5188454043902003),),
    ),
    Problem(
        "variably_dimensioned", _variably_dimensioned, 1 - _index(10) / 10,
        (_at(0.0, *[1] * 10),),
    ),
    Problem(
        "trigonometric", _trigonometric, np.full(10, 0.1),
        (_at(0.0, *[0] * 10),
         _at(2.7950561218793526e-05, 0.05515090398069237, 0.05684061679473965,
             0.058764001762696395, 0.06099060865676195, 0.06362621369585597,
             0.06684317945276057, 0.20816151856987752, 0.1643630958856427,
             0.08500689568851161, 0.09143145071470775),
         _at(4.218633887921772e-05, 0.05391292537425223, 0.055496591379668815,
             0.05728588093208466, 0.059336645443646786, 0.06173012715434196,
             0.25788600359636227, 0.06811418211955292, 0.07262293109412957,
             0.0784615992520898, 0.08375386408669627)),
    ),
    # At F = 1 the Hessian is singular and F falls with the ninth power along
    # x = (a, ..., a, 11 - 10 a).
    Problem(
        "brown_almost_linear", _brown_almost_linear, np.full(10, 0.5),
        (_at(0.0, *[1] * 10), _at(0.0, *[0.9794303033498625] * 9, 1.2056969665013755)),
        saddles=(_at(1.0, *[0] * 9, 11),),
    ),
    Problem(
        "discrete_boundary_value", _discrete_boundary_value,
        _index(10) / 11 * (_index(10) / 11 - 1),
        (_at(0.0, -0.04316498251876487, -0.08157715653538689, -0.11448571438052928,
             -0.14097357686259668, -0.1599086961819831, -0.16987720231277492,
             -0.16908998378120835, -0.15524953522183182, -0.125355891678935,
             -0.07541653368589209),),
    ),
    Problem(
        "broyden_tridiagonal", _broyden_tridiagonal, np.full(10, -1.0),
        (_at(0.0, -0.5707221320112248, -0.6818069499842752, -0.7022100760176601,
             -0.7055106298950804, -0.7049061557287436, -0.7014966070298512,
             -0.6918893223547983, -0.6657965144058537, -0.5960351090263657,
             -0.4164122575286934),),
    ),
    Problem(
        "chebyquad_8", _chebyquad, _index(8) / 9,
        (_at(0.003516873725677929, 0.04315276015101664, 0.19309084038418614,
             0.26632870689027294, 0.5, 0.5, 0.7336712931097271,
             0.8069091596158139, 0.9568472398489833),),
    ),
    Problem(
        "linear_rank_1", _linear_rank_1, np.ones(5),
        (_at(15 / 7, *[1 / 105] * 5),), singular=True,
    ),
)
# fmt: on

PROBLEMS: dict[str, Problem] = {p.name: p for p in (*CLASSIC, *EXTRA)}
