"""The commands of ``everwillow nsbi``, one module for each."""
