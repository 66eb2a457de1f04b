"""Hydra's door to `optuna_joblib_sweeper`: the plugin class and its configs, nothing else."""
