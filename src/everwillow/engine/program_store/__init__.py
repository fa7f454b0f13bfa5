"""Compiled programs that are kept from one process to the next."""

from everwillow.engine.program_store.caching import active, cache, keep_in, use
from everwillow.engine.program_store.store import (
    Compiling,
    ProgramStore,
    compiling,
)


__all__ = [
    "Compiling",
    "ProgramStore",
    "active",
    "cache",
    "compiling",
    "keep_in",
    "use",
]
