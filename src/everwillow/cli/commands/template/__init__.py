"""The commands of ``everwillow template``, a module each."""
