"""The network, from scratch: NumPy and the standard library, nothing else.

Read in this order: `layout`, `activations`, `losses`, `network`, `optimizers`, `fit`.
"""
