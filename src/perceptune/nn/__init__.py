"""The network from scratch, in NumPy and the standard library alone.

Read in this order: `layout`, `activations`, `losses`, `network`, `optimizers`, `recipe`, `state`,
`trainer`, `fit`. `initializers`, `schedules` and `regularizers` are the choices of a recipe,
`checks` refuses values outside their range, `workspace` saves allocations, `checkpoint` reads and
writes files, `diagnostics` measures layers.
"""
