"""What everwillow costs, next to its peers: `python -m benchmarks` prints it all."""
