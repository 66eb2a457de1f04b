NAMES = (
    "numpy",
    "torch",
    "torch_compiled",
    "jax",
    "sklearn",
    "keras_jax",
    "keras_tensorflow",
    "keras_torch",
    "keras",
)
