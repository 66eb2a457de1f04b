"""The network, from scratch: NumPy and the standard library, nothing else."""
