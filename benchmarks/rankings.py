"""The impacts of 100 nuisance parameters, in units of one fit."""

import everwillow as ew
from benchmarks.problems import templates
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds


TOPIC = "rankings"
PARAMETERS = 101
COVARIANCE_TARGET, REFIT_TARGET = 2.0, 100.0


def measure() -> list[Row]:
    """Time a ranking from the covariance, and one by 200 refits."""
    objective, state, counts = templates(PARAMETERS)
    constraints = {"alpha": ew.Normal(0.0, 1.0)}
    best = ew.fit(objective, state, counts)

    def rank(**options):
        return ew.impacts.rank(
            objective, best, counts, poi=["mu"], constraints=constraints, **options
        )

    calls = {
        "one fit": lambda: ew.fit(objective, state, counts).nll,
        "from the covariance": lambda: rank().postfit,
        "by refits, up and down": lambda: rank(refit=("postfit",)).postfit,
    }
    cold = {name: seconds(call) for name, call in calls.items()}
    times = interleave(calls, repeats=15)
    rows = [
        milliseconds(TOPIC, name, values, note=f"first call {cold[name]:.2f} s")
        for name, values in times.items()
    ]
    targets = (COVARIANCE_TARGET, REFIT_TARGET)
    for name, target in zip(list(calls)[1:], targets, strict=True):
        rows.append(
            Row(
                TOPIC,
                f"{name}, over one fit",
                ratio(times[name], times["one fit"]),
                "x",
                min(times[name]) / min(times["one fit"]),
                target=target,
            )
        )
    return rows


if __name__ == "__main__":
    emit(measure())
