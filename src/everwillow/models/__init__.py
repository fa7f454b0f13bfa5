"""Families of models, one package for each."""

from typing import TYPE_CHECKING

from everwillow._lazy_names import lazy_names


if TYPE_CHECKING:
    from everwillow.models import (
        binned as binned,
        binned_batch as binned_batch,
        event_files as event_files,
        event_filter as event_filter,
        histfactory as histfactory,
        hs3 as hs3,
        nsbi as nsbi,
        scale_smearing as scale_smearing,
        templates as templates,
    )


__getattr__, __dir__ = lazy_names(
    __name__,
    {},
    (
        "binned",
        "binned_batch",
        "event_files",
        "event_filter",
        "histfactory",
        "hs3",
        "nsbi",
        "scale_smearing",
        "templates",
    ),
)
