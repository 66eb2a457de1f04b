"""The config groups of the sweeper: `hydra/sweeper`, `hydra/sweeper/sampler`, `…/pruner`.

Postponed annotations are absent on purpose: with them, dataclasses in a plugin module crash
every Hydra app of the environment, since Hydra executes the module before it is in `sys.modules`.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class MlflowConfig:
    """Tracking: one parent run a study, one child run a trial."""

    enabled: bool = False
    tracking_uri: str | None = None  # null: MLFLOW_TRACKING_URI, else ./mlflow.db
    experiment: str | None = None  # null: the study's name
    artifact_location: str | None = None  # of a new experiment; null: MLflow's own choice
    prepare: str | None = None  # function(tracking_uri) that makes the store, called first
    log_params: bool = True  # the swept values as params of the child run
    plots: bool = True  # Optuna's plots as PNG on the parent run


@dataclass
class ConfirmConfig:
    """After the study, train the best few again with fresh seeds and crown by the mean."""

    top: int = 0  # how many trials; 0: no confirmation
    seeds: Any = 5  # a count, or the list of seeds
    skip: int = 1  # how many seeds a trial used, from the config's on: a count starts after them
    key: str = "seed"  # the config key that holds the seed


@dataclass
class OptunaJoblibSweeperConf:
    """Every knob of the sweeper, with its default."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}])
    _target_: str = "hydra_plugins.optuna_joblib_sweeper.sweeper.OptunaJoblibSweeper"
    _recursive_: bool = False  # samplers are made in the workers, one a trial

    sampler: Any = MISSING  # missing, not null: a null would wipe out what the defaults chose
    pruner: Any = MISSING
    direction: Any = "minimize"  # minimize, maximize, or a list of them: several objectives

    study_name: str | None = None  # null: a fresh study; a name: go on where it was
    storage: str | None = None  # null: journal in the sweep dir; path: journal; URL: database

    params: Any = None  # the space: Hydra's sweep syntax, a list, or {low, high, log, step, when}
    custom_search_space: str | None = None  # function(config, trial) that suggests more

    n_trials: int | None = None  # finished trials over all starts; null: 20, or the whole grid
    timeout: float | None = None  # seconds, after which no trial starts
    target: float | None = None  # stop once a value is as good
    patience: int | None = None  # stop after so many trials without improvement
    max_failure_rate: float = 1.0  # stop once more than this share of the budget failed
    fail_fast: bool = False  # stop at the first failed trial
    max_retries: int = 2  # how often a trial that kills its worker is tried again

    n_jobs: int = 2  # workers; negative counts back from the cores
    backend: str = "loky"  # any of joblib's that runs processes; sequential for a debugger
    threads: int = 1  # BLAS and OpenMP threads of each worker

    dry_run: bool = False  # say what would run and stop
    check: str | None = None  # function(config) that refuses a bad config before the study
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    on_complete: str | None = None  # function(study, best_trial, parent_run_id) after the study
    resume_ignore: list[str] = field(default_factory=list)  # config keys that may change
    command: str | None = None  # how the user calls the app; null: as it was called
    mlflow: MlflowConfig = field(default_factory=MlflowConfig)


# Null leaves a knob to Optuna's own default.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {
        "_target_": "optuna.samplers.TPESampler",
        "seed": None,
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": None,
        "group": False,  # with `when:` conditions and multivariate, true models each branch
        "constant_liar": True,  # steer parallel workers away from what already runs
    },
    "random": {"_target_": "optuna.samplers.RandomSampler", "seed": None},
    "grid": {"_target_": "optuna.samplers.GridSampler", "_partial_": True, "seed": None},
    "qmc": {
        "_target_": "optuna.samplers.QMCSampler",
        "seed": None,
        "qmc_type": "sobol",  # or halton
        "scramble": False,
    },
    "cmaes": {
        "_target_": "optuna.samplers.CmaEsSampler",
        "seed": None,
        "x0": None,
        "sigma0": None,
        "n_startup_trials": 1,
        "consider_pruned_trials": False,
        "popsize": None,
        "use_separable_cma": False,
        "with_margin": False,
        "lr_adapt": False,
    },
    "nsgaii": {
        "_target_": "optuna.samplers.NSGAIISampler",
        "seed": None,
        "population_size": 50,
        "mutation_prob": None,
        "crossover_prob": 0.9,
        "swapping_prob": 0.5,
    },
    "nsgaiii": {
        "_target_": "optuna.samplers.NSGAIIISampler",
        "seed": None,
        "population_size": 50,
        "mutation_prob": None,
        "crossover_prob": 0.9,
        "swapping_prob": 0.5,
        "dividing_parameter": 3,
    },
    "gp": {
        "_target_": "optuna.samplers.GPSampler",
        "seed": None,
        "n_startup_trials": 10,
        "deterministic_objective": False,
    },
}

_HALVING = "optuna.pruners.SuccessiveHalvingPruner"
PRUNERS: dict[str, dict[str, Any]] = {
    "none": {"_target_": "optuna.pruners.NopPruner"},
    "nop": {"_target_": "optuna.pruners.NopPruner"},
    "median": {
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,  # trials that finish before any is pruned
        "n_warmup_steps": 0,  # steps of a trial that are never pruned
        "interval_steps": 1,
        "n_min_trials": 1,
    },
    "percentile": {
        "_target_": "optuna.pruners.PercentilePruner",
        "percentile": 25.0,  # the share that is kept
        "n_startup_trials": 5,
        "n_warmup_steps": 0,
        "interval_steps": 1,
        "n_min_trials": 1,
    },
    "successive_halving": {
        "_target_": _HALVING,
        "min_resource": "auto",
        "reduction_factor": 4,
        "min_early_stopping_rate": 0,
        "bootstrap_count": 0,
    },
    "hyperband": {
        "_target_": "optuna.pruners.HyperbandPruner",
        "min_resource": 1,
        "max_resource": "auto",
        "reduction_factor": 3,
        "bootstrap_count": 0,
    },
    "patient": {
        "_target_": "optuna.pruners.PatientPruner",
        "wrapped_pruner": None,  # a pruner's own config with its _target_, or null
        "patience": 3,
        "min_delta": 0.0,
    },
    "threshold": {
        "_target_": "optuna.pruners.ThresholdPruner",
        "lower": None,  # prune below
        "upper": None,  # prune above
        "n_warmup_steps": 0,
        "interval_steps": 1,
    },
    "wilcoxon": {
        "_target_": "optuna.pruners.WilcoxonPruner",
        "p_threshold": 0.1,
        "n_startup_steps": 2,
    },
}


def _store() -> None:
    store = ConfigStore.instance()
    provider = "optuna_joblib_sweeper"
    store.store(
        group="hydra/sweeper",
        name="optuna_joblib",
        node=OptunaJoblibSweeperConf,
        provider=provider,
    )
    for kind, table in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        group = f"hydra/sweeper/{kind}"
        try:
            taken = set(store.list(group))
        except OSError:
            taken = set()
        for name, node in table.items():
            # Hydra's own Optuna plugin registers some of the same names with typed nodes, on
            # which its sweeper insists. This one takes either, so it never replaces them.
            if f"{name}.yaml" not in taken:
                store.store(group=group, name=name, node=node, provider=provider)


_store()
