"""Energy scale and smearing: from files of events to corrections."""

from everwillow.workflows.scale_smearing.chains import write_chain


__all__ = [
    "write_chain",
]
