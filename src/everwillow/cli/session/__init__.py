"""The setup of JAX for one command, and compiled programs on disk."""
