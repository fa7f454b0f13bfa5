"""Models: a likelihood together with its parameters, constraints and data.

A model is where what is fitted meets how it is fitted. Its likelihood has two parts:
``main_nll``, which every model brings, and the constraints of its parameters, which
are the same for all. Auxiliary data are part of the observation, so they fluctuate in
toys, move in Asimov data sets and can be differentiated.
"""

from everwillow.model.base import AbstractModel, Bound
from everwillow.model.flat import FlatMain
from everwillow.model.functional import Model


__all__ = ["AbstractModel", "Bound", "FlatMain", "Model"]
