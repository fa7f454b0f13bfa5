"""How a fit ended, and its parameters: the same lines and tables for every command."""

import numpy as np

from everwillow.cli.report.numbers import plain, signed, with_error
from everwillow.cli.report.terminal import table
from everwillow.workflows.report import FitSummary, Parameters


# So many rows of a table are shown, unless all are asked for.
SHOWN = 20
_NAMED = 6


def headline(title: str, what: str, *facts: str) -> str:
    """Return what was fitted, in two lines; empty facts are left out."""
    return f"{title}: {what}\n{', '.join(filter(None, facts))}"


def counted(number: int, what: str) -> str:
    """Return a number of things.

    Example:
        >>> counted(1, "bin"), counted(2, "bin")
        ('1 bin', '2 bins')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def status(fit: FitSummary, advice: str, remark: str = "") -> str:
    """Return how a fit ended.

    Args:
        fit: The summary.
        advice: What to do after a failure.
        remark: On the likelihood.
    """
    numbers = f"-2 ln L = {2 * fit.nll:.6f}"
    if fit.penalty is not None:
        remark = f"the penalty {plain(2 * fit.penalty, 4)} in it"
    numbers += f" ({remark})" if remark else ""
    if fit.success:
        lines = [fit.status, numbers]
        if fit.saturated is not None:
            test = fit.saturated
            chi2 = f"chi2/ndof = {plain(test.statistic, 4)}/{test.ndof:g}"
            p = f"p = {plain(test.pvalue, 3)}"
            lines.append(f"Against the saturated model: {chi2}, {p}")
        return "\n".join(lines)
    edm = "" if "EDM" in fit.status else f", EDM {plain(fit.edm, 2)}"
    spent = counted(fit.evaluations, "evaluation")
    return (
        f"FAILED: {fit.status}\n{numbers}{edm} where it stopped, after {spent}.\n"
        f"Nothing below is a result. {advice}"
    )


def parameter_tables(found: Parameters, *, everything: bool) -> list[str]:
    """Return tables of parameters of interest, of free and of constrained ones."""
    fitted = ~found.frozen
    if found.stopped_at is not None:
        return [_last_values(found)]
    parts = []
    several = np.sum(found.interest & fitted) > 1
    for what, chosen in (
        (f"Parameter{'s' if several else ''} of interest", found.interest),
        ("Free parameters", ~found.interest & ~found.constrained),
    ):
        here = _where(chosen & fitted)
        if here.size:
            shown = here if everything else here[:SHOWN]
            rows = [_row(found, i) for i in shown]
            cells = [(*row[:3], row[5]) for row in rows]
            heads = ("name", "value", "error", "")
            title = shortened(what, len(here), everything=everything)
            parts.append(table(heads, cells, title=title))
    here = _where(found.constrained & ~found.interest & fitted)
    if here.size:
        what = "Constrained parameters"
        if here.size > SHOWN and not everything:
            what += f": the {SHOWN} of {here.size} with the largest pulls (or --all)"
            here = here[np.argsort(-np.abs(found.pulls[here]), kind="stable")][:SHOWN]
        heads = ("name", "value", "error", "pull", "constraint", "")
        parts.append(table(heads, [_row(found, i) for i in here], title=what))
    held = [found.names[i] for i in _where(found.frozen)]
    if held:
        more = f", ... ({len(held)} in all)" if len(held) > _NAMED else ""
        parts.append(f"Fixed: {', '.join(held[:_NAMED])}{more}")
    return parts


def _last_values(found: Parameters) -> str:
    """Return where a failed fit ended, without anything that looks like a result."""
    assert found.stopped_at is not None
    fitted = ~found.frozen
    order = [*_where(found.interest & fitted), *_where(~found.interest & fitted)]
    rows = [(found.names[i], plain(float(found.stopped_at[i]))) for i in order[:SHOWN]]
    more = f" (the first {SHOWN})" if len(order) > SHOWN else ""
    return table(("name", "last value"), rows, title=f"Where the fit stopped{more}")


def _row(found: Parameters, i: int) -> tuple[str, ...]:
    digits = 3 if found.interest[i] else 2
    value, error = with_error(float(found.values[i]), float(found.errors[i]), digits)
    notes = ["at bound, one side"] if found.at_bound[i] and error else []
    notes += ["blinded"] if found.blinded[i] else []
    pull, width = signed(float(found.pulls[i])), signed(float(found.constraints[i]))
    return found.names[i], value, error, pull, width.lstrip("+"), ", ".join(notes)


def shortened(what: str, count: int, *, everything: bool) -> str:
    """Return the title of a table that shows the first rows, unless all are shown."""
    if count <= SHOWN or everything:
        return what
    return f"{what}: the first {SHOWN} of {count} (or --all)"


def profile_table(name: str, values: np.ndarray, heights: np.ndarray) -> str:
    """Return a table of a scan; fits without a minimum have the height NaN."""
    rows = [
        (plain(float(value)), height_text(float(height)))
        for value, height in zip(values, heights, strict=True)
    ]
    what = f"Profile of {name}: rise of -2 ln L above the minimum"
    return table((name, "-2 Δ ln L"), rows, title=what)


def height_text(height: float, decimals: int = 4) -> str:
    """Return the height of a profile.

    Example:
        >>> height_text(-1e-9), height_text(float("nan"))
        ('0.0000', 'failed')
    """
    if np.isnan(height):
        return "failed"
    return signed(height, decimals).lstrip("+")


def decimals_of(error: float) -> int:
    """Return how many decimals three digits of an error have."""
    if not (np.isfinite(error) and error > 0):
        return 4
    return min(max(0, 2 - int(np.floor(np.log10(error)))), 10)


def _where(flags: np.ndarray) -> np.ndarray:
    return np.nonzero(flags)[0]
