"""The likelihood of masses in regions as a function of arrays."""
