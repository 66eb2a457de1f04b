"""A Hydra app that knows nothing of Perceptune: two lines make its trials prunable."""

import hydra
from omegaconf import DictConfig

from optuna_joblib_sweeper import current_trial


@hydra.main(version_base=None, config_path="conf", config_name="config")
def descend(config: DictConfig) -> float:
    """Minimize x² by gradient descent from `start`; a rate of 0.5 needs a single step."""
    x, trial = config.start, current_trial()
    for step in range(config.steps):
        x -= config.rate * 2 * x
        trial.report(x**2, step)
        if trial.should_prune():
            break
    return x**2


if __name__ == "__main__":
    descend()
