"""Settings that tests and doctests share; pytest reads this before it imports jax."""

import jax


jax.config.update("jax_enable_x64", True)
