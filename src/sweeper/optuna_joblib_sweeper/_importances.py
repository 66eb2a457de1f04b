"""How much each parameter explains, by Optuna's fANOVA; reads no storage."""

import logging
import statistics
import warnings

from optuna_joblib_sweeper.result import Importance, SweepResult

log = logging.getLogger(__name__)

FORESTS = 5  # fANOVA fits random forests: how far apart they lie is part of the result
FEWEST_TRIALS = 4  # complete ones, below which an importance means nothing


def importances(result: SweepResult) -> list[Importance]:
    """See `SweepResult.importances`.

    Parameters that only some trials have are left out, and so are pruned trials: their last values
    are of other steps.
    """
    values = {trial.values for trial in result.of("complete")}
    enough = len(result.of("complete")) >= FEWEST_TRIALS and len(values) > 1
    if result.study is None or len(result.directions) > 1 or not enough:
        return []
    try:
        forests = [_forest(result, seed) for seed in range(FORESTS)]
    except ImportError as error:
        log.info("no importances without scikit-learn: %s", error)
        return []
    except (ValueError, RuntimeError):  # no variance in any parameter
        return []
    found = [
        Importance(
            name,
            statistics.mean(forest[name] for forest in forests),
            statistics.stdev(forest[name] for forest in forests),
        )
        for name in forests[0]
    ]
    return sorted(found, key=lambda one: -one.fraction)


def _forest(result: SweepResult, seed: int) -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    assert result.study is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the experimental, and one-valued parameters
        evaluator = FanovaImportanceEvaluator(seed=seed)
        return get_param_importances(result.study, evaluator=evaluator)
