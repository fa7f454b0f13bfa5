"""The likelihood of density-ratio models in arrays."""
