"""The commands of ``everwillow sas``, one module for each."""
