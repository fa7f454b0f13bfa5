"""Models: a likelihood together with its parameters, constraints and data.

Models are the interface between likelihoods and inference. The likelihood of a model
has two parts: ``main_nll``, which each class of models defines, and the constraints of
its parameters, which all models treat in the same way. Auxiliary data are part of the
observation, so they fluctuate in toys, are replaced in Asimov data sets and can be
differentiated.
"""

from everwillow._lazy_names import listed_names
from everwillow.model.base import AbstractModel, Bound
from everwillow.model.flat import FlatMain
from everwillow.model.functional import Model


__dir__ = listed_names(globals())

__all__ = ["AbstractModel", "Bound", "FlatMain", "Model"]
