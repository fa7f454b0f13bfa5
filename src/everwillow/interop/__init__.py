"""Interfaces to other tools; each needs the extra of its name."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(__name__, {}, ("spey",))
