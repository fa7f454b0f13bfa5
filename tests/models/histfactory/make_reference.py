"""Write `reference.json`: what pyhf makes of the workspaces of these tests.

Run from the root of the repository with pyhf 0.7.6 (`pip install pyhf==0.7.6`):

    python -m tests.models.histfactory.make_reference
"""

import json
import logging

import pyhf

from tests.models.histfactory.workspaces import (
    DATA,
    INTERPOLATIONS,
    PUBLISHED,
    REFERENCE,
    SMALL,
    other,
    overlapping,
    points,
    tiny,
)


logging.disable(logging.WARNING)


def model_reference(document):
    workspace = pyhf.Workspace(document)
    made = {"digest": {a: pyhf.utils.digest(document, a) for a in ("sha256", "md5")}}
    made["twice_nll"] = {}
    for name, settings in INTERPOLATIONS.items():
        model = workspace.model(
            modifier_settings={k: {"interpcode": code} for k, code in settings.items()}
        )
        config, data = model.config, workspace.data(model)
        inits, bounds = config.suggested_init(), config.suggested_bounds()
        fixed = config.suggested_fixed()
        made["twice_nll"][name] = [
            -2 * float(model.logpdf(point, data)[0])
            for point in points(inits, bounds, fixed)
        ]
    made |= {
        "channels": config.channels,
        "par_order": config.par_order,
        "par_names": config.par_names,
        "suggested_init": inits,
        "suggested_bounds": bounds,
        "suggested_fixed": fixed,
        "auxdata": list(config.auxdata),
        "auxdata_order": config.auxdata_order,
        "poi": config.poi_name,
    }
    return made


def operations():
    every = pyhf.Workspace(SMALL["every_type"]())
    first, second = pyhf.Workspace(tiny()), pyhf.Workspace(other())
    overlap = pyhf.Workspace(overlapping())
    combine = pyhf.Workspace.combine
    made = {
        "prune": every.prune(
            channels=["CR"], samples=["fakes"], modifiers=["mu_top", "jes"]
        ),
        "prune types": every.prune(modifier_types=["staterror", "shapesys"]),
        "rename": every.rename(
            channels={"SR": "signal region"},
            samples={"top": "ttbar"},
            modifiers={"mu": "strength", "theory": "scale"},
            measurements={"meas": "m"},
        ),
        "correlate": every.rename(modifiers={"theory": "jes"}),
        "sorted": pyhf.Workspace.sorted(every),
        "combine none": combine(first.rename(measurements={"meas": "first"}), second),
        "combine outer": combine(first, second, join="outer"),
        "combine left outer": combine(first, overlap, join="left outer"),
        "combine right outer": combine(first, overlap, join="right outer"),
        "combine merged": combine(first, overlap, join="outer", merge_channels=True),
        "combine merged right": combine(
            first, overlap, join="right outer", merge_channels=True
        ),
    }
    return {name: dict(workspace) for name, workspace in made.items()}


def main():
    documents = {name: make() for name, make in SMALL.items()}
    for name in PUBLISHED:
        documents[name] = json.loads((DATA / f"{name}.json").read_text())
    made = {
        "tool": f"pyhf {pyhf.__version__}",
        "models": {name: model_reference(d) for name, d in documents.items()},
        "operations": operations(),
    }
    REFERENCE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
