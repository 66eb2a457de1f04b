"""The network, from scratch: NumPy and the standard library, nothing else.

Read in this order: `layout`, `activations`, `losses`, `network`, `optimizers`, `recipe`, `state`,
`trainer`, `fit`. `initializers`, `schedules` and `regularizers` are what a recipe may choose;
`workspace` saves allocations, `checkpoint` saves everything else.
"""
