"""``everwillow gof``."""

from everwillow.cli.report.answers import chi2_answer
from everwillow.cli.report.goodness import goodness_text, toy_pvalue_text
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.goodness.saturated import saturated_test
from everwillow.goodness.toys import saturated_toys
from everwillow.workflows.report import chi_square


def run(request: Request, *, ntoys: int, seed: int) -> None:
    """Compare the fit with the saturated model, and print p-values."""
    best = WorkspaceFit.of(request, needs_poi=False)
    model, minimum = best.given.model, best.result.check()
    if not ntoys:
        with best.timed("test", "Testing"):
            test = saturated_test(model, minimum)
        asymptotic = chi_square(test)
        best.finish(
            test,
            None,
            goodness_text(asymptotic),
            answer={"asymptotic": chi2_answer(asymptotic)},
        )
        return
    with best.timed("toys", f"Fitting {ntoys} toys"):
        made = saturated_toys(
            model, minimum, ntoys=ntoys, key=seed, fixed=best.given.fixed
        )
    asymptotic, toys = chi_square(made.asymptotic), made.toys
    best.finish(
        made,
        None,
        goodness_text(asymptotic),
        toy_pvalue_text(toys, made.fits, seed),
        answer={
            "asymptotic": chi2_answer(asymptotic),
            "toys": {
                "pvalue": toys.pvalue,
                "lower": toys.lower,
                "upper": toys.upper,
                "at_least": toys.at_least,
                "valid": toys.valid,
                "failed": toys.failed,
                "seed": seed,
            },
        },
    )
