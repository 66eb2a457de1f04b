"""Importances and figures of a study, by Optuna."""

import logging
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from optuna.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

FORESTS = 5  # fANOVA fits random forests: how far apart they lie is part of the result
MOST_NAMED = 10  # trials in a legend


def importances(study: Study) -> list[tuple[str, float, float]]:
    """Each parameter with mean and standard deviation of its fraction; the largest first.

    Parameters that only some trials have are left out, and so are pruned trials: their last values
    are of other steps.
    """
    try:
        forests = [_forest(study, seed) for seed in range(FORESTS)]
    except (ImportError, ValueError, RuntimeError) as error:
        log.info("no importances: %s", error)  # no scikit-learn, or no parameter that varies
        return []
    fractions = {name: [forest[name] for forest in forests] for name in forests[0]}
    found = [(name, statistics.mean(f), statistics.stdev(f)) for name, f in fractions.items()]
    return sorted(found, key=lambda row: -row[1])


def _forest(study: Study, seed: int) -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the experimental, and one-valued parameters
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))


def figures(study: Study, names: list[str], found: Any) -> "Iterator[tuple[str, Figure]]":
    """See `SweepResult.figures`; each figure is closed when the next one is drawn.

    Args:
        names: of the objectives.
        found: the importances.
    """
    if find_spec("matplotlib") is None:
        log.info("no figures without matplotlib: pip install 'optuna-joblib-sweeper[plots]'")
        return
    import matplotlib

    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")  # who shows figures on a screen has imported it already
    from matplotlib import pyplot as plt

    for name, draw in _wanted(study, names, found).items():
        before = set(plt.get_fignums())
        try:
            # Optuna sets a style of its own for the whole process: the app's figures keep theirs.
            with matplotlib.rc_context(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # each is experimental, and warns of it each time
                figure = _TIDY.get(name, _sized)(draw())
        except Exception as error:
            # A space of one value, or all values equal: no figure is worth a failed study.
            log.info("no figure of %s: %s", name, error)
        else:
            yield name, figure
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def _wanted(study: Any, names: list[str], importances: Any) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as plots

    if len(names) > 1:
        return {"pareto_front": partial(plots.plot_pareto_front, study, target_names=names)}
    [name] = names
    found: dict[str, Callable[[], Any]] = {
        "history": partial(plots.plot_optimization_history, study, target_name=name),
        "parallel_coordinate": partial(plots.plot_parallel_coordinate, study, target_name=name),
        "slice": partial(plots.plot_slice, study, target_name=name),
        "intermediate_values": partial(plots.plot_intermediate_values, study),
    }
    return found | ({"importances": partial(_draw_importances, importances)} if importances else {})


def _sized(axes: Any) -> "Figure":
    figure: Figure = (axes.ravel()[0] if hasattr(axes, "ravel") else axes).figure
    figure.set_size_inches(9, 5)
    figure.tight_layout()  # warns where long names leave it no room
    return figure


def _tidy_slices(axes: Any) -> "Figure":
    """A layout of the panels alone: in Optuna's the colours' scale lies across them."""
    figure = _sized(axes)
    *panels, scale = figure.axes
    for panel in panels:
        panel.tick_params(axis="x", which="both", labelrotation=45)  # choices may be long
    figure.set_size_inches(max(9, 3 * len(panels)), 5)
    scale.set_position((0.93, 0.13, 0.012, 0.77))
    scale.set_in_layout(False)
    figure.tight_layout(rect=(0, 0, 0.91, 1))
    return figure


def _tidy_curves(axes: Any) -> "Figure":
    """A legend of every trial would take the curves' room and still be cut off."""
    from matplotlib.ticker import MaxNLocator

    legend = axes.get_legend()
    if legend is not None and len(legend.get_texts()) > MOST_NAMED:
        legend.remove()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _sized(axes)


def _draw_importances(found: Sequence[Any]) -> Any:
    """Bars, the most important on top, with the standard deviation over the forests."""
    from matplotlib import pyplot as plt

    _, axes = plt.subplots()
    names, fractions = [one.name for one in found], [one.fraction for one in found]
    axes.barh(names, fractions, xerr=[one.sd for one in found], capsize=3)
    axes.invert_yaxis()
    axes.set(title="importances by fANOVA", xlabel="fraction of the variance", xlim=(0, None))
    return axes


_TIDY = {"slice": _tidy_slices, "intermediate_values": _tidy_curves}
