"""A figure of the pulls of toys."""

from typing import Any

import numpy as np

from everwillow.workflows.report import Toys


def toy_figure(plotting: Any, toys: Toys, title: str | None) -> Any:
    """Draw mean and width of the pulls of toys; or say why there is no figure.

    Args:
        plotting: The package `everwillow.plotting`.
        toys: The fits.
        title: The title.
    """
    good = toys.success
    away = toys.pulls[good]
    known = np.any(np.isfinite(away), axis=0).tolist()
    names = [name for name, one in zip(toys.names, known, strict=True) if one]
    if not names:
        return "There is no plot, as no toy has a pull."
    return plotting.pulls(
        names=names,
        values=np.nanmean(away[:, known], 0),
        errors=np.nanstd(away[:, known], 0),
        title=title,
        note=f"Mean and width, {int(good.sum())} toys",
    )
