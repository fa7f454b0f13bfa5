"""Workspaces of density ratios, with their arrays inside."""

import base64
import hashlib
import io

import numpy as np

from tests.models.nsbi import analytic


def stored(values):
    """Return an entry of `arrays` with its content."""
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    content = file.getvalue()
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": int(np.size(values)),
        "content": base64.b64encode(content).decode(),
    }


def modifiers(name, arrays, events, prefix):
    made = []
    if name == "signal":
        made.append({"name": "mu", "type": "normfactor", "data": None})
    change = events.variations[name, "scale"]
    data = {
        "hi_data": [analytic.GROWTH[name]],
        "lo_data": [1 / analytic.GROWTH[name]],
    }
    for key, values in (("hi_ratio", change.up), ("lo_ratio", change.down)):
        reference = f"{prefix}{name}_{key}"
        arrays[reference] = stored(values)
        data[key] = reference
    made.append({"name": "scale", "type": "normplusshape", "data": data})
    return made


def analytic_workspace(observed, reference=None, control=False):
    """Return the workspace of `analytic.spec`.

    Args:
        observed: The observed events.
        reference: The reference sample, or None.
        control: Whether to add a binned channel of two bins.
    """
    arrays = {}

    def part(events, prefix):
        arrays[f"{prefix}weights"] = stored(events.weights)
        samples = []
        for name in analytic.SAMPLES:
            arrays[f"{prefix}{name}"] = stored(events.ratios[name])
            samples.append(
                {
                    "name": name,
                    "data": [analytic.YIELDS[name]],
                    "variance": [4.0],
                    "ratios": f"{prefix}{name}",
                    "modifiers": modifiers(name, arrays, events, prefix),
                }
            )
        return {"weights": f"{prefix}weights", "samples": samples}

    region = {"name": "SR", "type": "unbinned", **part(observed, "")}
    if reference is not None:
        region["reference"] = part(reference, "reference_")
    channels, observations = [region], []
    if control:
        shapes = {"signal": [2.0, 5.0], "background": [300.0, 200.0]}
        samples = [
            {
                "name": name,
                "data": shapes[name],
                "variance": [0.5, 0.7],
                "modifiers": [
                    *(
                        [{"name": "mu", "type": "normfactor", "data": None}]
                        if name == "signal"
                        else []
                    ),
                    {
                        "name": "scale",
                        "type": "normplusshape",
                        "data": {"hi_data": [1.1, 0.95], "lo_data": [0.92, 1.04]},
                    },
                ],
            }
            for name in analytic.SAMPLES
        ]
        channels.append({"name": "CR", "type": "binned", "samples": samples})
        observations.append({"name": "CR", "data": [310.0, 199.0]})
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [
            {
                "name": "analytic",
                "config": {
                    "poi": "mu",
                    "parameters": [
                        {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]},
                        {"name": "scale", "inits": [0.0], "bounds": None},
                    ],
                },
            }
        ],
        "arrays": arrays,
    }
