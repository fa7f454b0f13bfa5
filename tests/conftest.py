"""Settings of the test suite and the fixtures that all of it uses."""

import gc
import os
from collections.abc import Callable, Iterator


# Read by equinox when it is imported, so before anything else here.
os.environ["EQX_ON_ERROR"] = "raise"

import hypothesis
import jax
import jax.random as jr
import pytest

from everwillow.engine import program_store


jax.config.update("jax_enable_x64", True)
# A promotion that nobody asked for is a mistake in our own code: ask for all of them.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Two devices on any machine, so that sharding is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)

# The first example of a property compiles, which no deadline allows for; the same
# examples every time, so that a red suite is red for everybody.
hypothesis.settings.register_profile(
    "everwillow",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("everwillow")


# Most tests run a program once, so that compiling it is their cost. The first two only
# help together; with the third a program is not cut in parts that compile in parallel:
# the workers of pytest-xdist use all cores already.
_QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let matrices of cases be run as a whole: the gate runs a part of each."""
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="run the tests that are marked `exhaustive`, too",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave exhaustive tests out unless they are asked for."""
    if config.getoption("--exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    """Compile in half the time, unless all tests run or `XLA_FLAGS` says how.

    The weekly run of all tests compiles as users do, so that optimised programs are
    tested, too.
    """
    if config.getoption("markexpr") in ("not slow", "slow"):
        # XLA reads it when the first program is compiled.
        os.environ.setdefault("XLA_FLAGS", " ".join(_QUICK_TO_COMPILE))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep Python's garbage collector away from what lives as long as the session.

    Tracing makes and drops many small objects, and with two million of modules, tests
    and their parameters to pass through each collection takes a second.
    """
    del session
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_go_with_their_module() -> Iterator[None]:
    """Drop compiled programs after each file.

    Each one maps memory, and a process may have only so many maps (65530 on Linux):
    the compiler dies when a suite has filled them.
    """
    yield
    program_store.active().clear()
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def getkey() -> Callable[[], jax.Array]:
    """A function that returns a new PRNG key each time, the same ones in each run."""
    key = jr.key(20140319)

    def next_key() -> jax.Array:
        nonlocal key
        key, new = jr.split(key)
        return new

    return next_key
