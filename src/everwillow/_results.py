"""The status codes of solvers."""

import optimistix as optx


class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """How a fit ended; the message is the value.

    Extends `optimistix.RESULTS`, so codes of foreign solvers keep their meaning.
    """

    flat_direction = (
        "The likelihood does not depend on some combination of the parameters at its "
        "minimum, so their values and errors are not determined."
    )
    stalled = (
        "No step improves the likelihood any further in floating-point arithmetic, "
        "and the estimated distance to the minimum is still too large."
    )
    not_a_minimum = (
        "The end point is not a minimum: the Hessian has a direction of negative "
        "curvature there."
    )
    edm_above_goal = (
        "The solver stopped although the estimated distance to the minimum is still "
        "above its goal."
    )
    no_derivatives = (
        "The likelihood has no derivatives, and its values around the end point do not "
        "show a minimum there."
    )
    nonfinite_start = (
        "The likelihood or its gradient is not finite at the start values."
    )
    kink = (
        "The gradient of the likelihood jumps at the end point (a kink): there is no "
        "derivative, so neither a minimum nor errors can be determined from them."
    )
    no_limit = (
        "The likelihood still grows towards a bound at which it is not finite, so "
        "there is no minimum."
    )
    rounded = (
        "-ln L is so large that its rounding hides how it rises around its minimum, so "
        "values and errors cannot be determined. Use double precision, "
        'jax.config.update("jax_enable_x64", True), or leave out constant terms.'
    )
    edge_of_positivity = (
        "The minimum lies where a bin without events expects nothing; beyond, its "
        "expected count would be negative."
    )
