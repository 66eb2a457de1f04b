"""The network from scratch, in NumPy and the standard library alone.

Read in this order: `layout`, `activations`, `losses`, `network`, `optimizers`, `recipe`, `state`,
`trainer`, `fit`. `initializers`, `schedules` and `regularizers` are the choices of a recipe,
`checks` refuses values outside their range, `workspace` saves allocations, `active` saves products,
`checkpoint` reads and writes files, `npz` looks at them first, `diagnostics` measures layers.

The whole of it, for three classes of points in the plane:

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from perceptune.nn.activations import Relu
    >>> from perceptune.nn.fit import fit
    >>> from perceptune.nn.initializers import HeNormal, initialize
    >>> from perceptune.nn.network import Network
    >>> from perceptune.nn.optimizers import Adam
    >>> from perceptune.nn.recipe import Recipe
    >>> from perceptune.nn.schedules import Constant
    >>> from perceptune.nn.state import TrainingState
    >>> rng = np.random.default_rng(0)
    >>> points = rng.integers(0, 256, (600, 2), dtype=np.uint8)
    >>> classes = points.max(axis=1) // 86
    >>> network = Network([2, 32, 3], Relu(), scale=1 / 255)
    >>> recipe = Recipe(Adam(0.9, 0.999, 1e-8), 0.01, Constant(), epochs=60, batch_size=20)
    >>> theta = initialize(network.layout, HeNormal(), rng)
    >>> state = TrainingState.start(theta, recipe, np.random.SeedSequence(0))
    >>> samples = SimpleNamespace(images=points, labels=classes, rows=np.arange(600))
    >>> for epoch in fit(network, state, recipe, samples):
    ...     pass
    >>> epoch.number, epoch.train_accuracy > 0.95
    (60, True)
"""
