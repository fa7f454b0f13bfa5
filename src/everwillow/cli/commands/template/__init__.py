"""The commands of ``everwillow template``, one module for each."""
