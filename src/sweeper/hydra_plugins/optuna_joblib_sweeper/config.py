"""The config groups of the sweeper: `hydra/sweeper`, `hydra/sweeper/sampler`, `…/pruner`.

Postponed annotations are absent on purpose: with them, dataclasses in a plugin module crash
every Hydra app of the environment, since Hydra executes the module before it is in `sys.modules`.
"""

from typing import Any

from hydra.core.config_store import ConfigStore

from optuna_joblib_sweeper.settings import Settings


def _part(target: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"optuna.{target}", **settings}


# Null leaves a setting to Optuna's own default.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": _part(
        "samplers.TPESampler",
        seed=None,
        n_startup_trials=10,
        n_ei_candidates=24,
        multivariate=None,
        group=False,  # with `when:` conditions and multivariate, true models each branch
        constant_liar=True,  # steer parallel workers away from what already runs
    ),
    "random": _part("samplers.RandomSampler", seed=None),
    "grid": _part("samplers.GridSampler", _partial_=True, seed=None),
    "qmc": _part("samplers.QMCSampler", seed=None, qmc_type="sobol", scramble=False),  # or halton
    "cmaes": _part(
        "samplers.CmaEsSampler",
        seed=None,
        x0=None,
        sigma0=None,
        n_startup_trials=1,
        consider_pruned_trials=False,
        popsize=None,
        use_separable_cma=False,
        with_margin=False,
        lr_adapt=False,
    ),
    "nsgaii": _part(
        "samplers.NSGAIISampler",
        seed=None,
        population_size=50,
        mutation_prob=None,
        crossover_prob=0.9,
        swapping_prob=0.5,
    ),
    "nsgaiii": _part(
        "samplers.NSGAIIISampler",
        seed=None,
        population_size=50,
        mutation_prob=None,
        crossover_prob=0.9,
        swapping_prob=0.5,
        dividing_parameter=3,
    ),
    "gp": _part(
        "samplers.GPSampler", seed=None, n_startup_trials=10, deterministic_objective=False
    ),
}

PRUNERS: dict[str, dict[str, Any]] = {
    "none": _part("pruners.NopPruner"),
    "nop": _part("pruners.NopPruner"),
    "median": _part(
        "pruners.MedianPruner",
        n_startup_trials=5,  # trials that finish before any is pruned
        n_warmup_steps=0,  # steps of a trial that are never pruned
        interval_steps=1,
        n_min_trials=1,
    ),
    "percentile": _part(
        "pruners.PercentilePruner",
        percentile=25.0,  # of the trials that are kept, 0–100
        n_startup_trials=5,
        n_warmup_steps=0,
        interval_steps=1,
        n_min_trials=1,
    ),
    "successive_halving": _part(
        "pruners.SuccessiveHalvingPruner",
        min_resource="auto",
        reduction_factor=4,
        min_early_stopping_rate=0,
        bootstrap_count=0,
    ),
    "hyperband": _part(
        "pruners.HyperbandPruner",
        min_resource=1,
        max_resource="auto",
        reduction_factor=3,
        bootstrap_count=0,
    ),
    "patient": _part(
        "pruners.PatientPruner",
        wrapped_pruner=None,  # a pruner's own config with its _target_, or null
        patience=3,
        min_delta=0.0,
    ),
    "threshold": _part(
        "pruners.ThresholdPruner",
        lower=None,  # prune below
        upper=None,  # prune above
        n_warmup_steps=0,
        interval_steps=1,
    ),
    "wilcoxon": _part("pruners.WilcoxonPruner", p_threshold=0.1, n_startup_steps=2),
}


def _store() -> None:
    store = ConfigStore.instance()
    provider = "optuna_joblib_sweeper"
    store.store(group="hydra/sweeper", name="optuna_joblib", node=Settings, provider=provider)
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
