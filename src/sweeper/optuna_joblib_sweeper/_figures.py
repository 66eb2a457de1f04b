"""The figures of a study: Optuna's own visualization by matplotlib, tidied."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from optuna_joblib_sweeper.result import SweepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

MOST_NAMED = 10  # trials in a legend
_LABEL = "fraction of what the parameters explain one by one"


def figures(result: SweepResult) -> "Iterator[tuple[str, Figure]]":
    """See `SweepResult.figures`; each figure is closed when the next one is drawn."""
    if result.study is None or not result.of("complete"):
        return
    try:
        import matplotlib
    except ImportError:
        log.info("no figures without matplotlib: pip install 'optuna-joblib-sweeper[plots]'")
        return
    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")  # who shows figures on a screen has imported it already
    from matplotlib import pyplot as plt

    for name, draw in _wanted(result).items():
        before = set(plt.get_fignums())
        try:
            # Optuna sets a style of its own for the whole process: the app's figures keep theirs.
            with matplotlib.rc_context(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # each is experimental, and says so each time
                figure = draw()
        except Exception as error:
            # A space of one value, or all values equal: no figure is worth a failed study.
            log.info("no figure of %s: %s", name, error)
        else:
            yield name, figure
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def _wanted(result: SweepResult) -> "dict[str, Callable[[], Figure]]":
    from optuna.visualization import matplotlib as plots

    study: Any = result.study
    names = list(result.objectives)
    if len(names) > 1:
        return {"pareto_front": lambda: _sized(plots.plot_pareto_front(study, target_names=names))}
    found: dict[str, Callable[[], Figure]] = {
        "history": lambda: _sized(plots.plot_optimization_history(study, target_name=names[0])),
        "parallel_coordinate": lambda: _sized(
            plots.plot_parallel_coordinate(study, target_name=names[0])
        ),
        "slice": lambda: _tidy_slices(plots.plot_slice(study, target_name=names[0])),
        "intermediate_values": lambda: _tidy_curves(plots.plot_intermediate_values(study)),
    }
    if result.importances():
        found["importances"] = lambda: _draw_importances(result)
    return found


def _sized(axes: Any) -> "Figure":
    figure: Figure = (axes.ravel()[0] if hasattr(axes, "ravel") else axes).figure
    figure.set_size_inches(9, 5)
    figure.tight_layout()  # warns where long names leave it no room
    return figure


def _tidy_slices(axes: Any) -> "Figure":
    """A layout of the panels alone: Optuna's leaves the colours' scale lying across them."""
    figure = _sized(axes)
    *panels, scale = figure.axes
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


def _draw_importances(result: SweepResult) -> "Figure":
    """Bars, the most important on top, with the standard deviation over the forests."""
    from matplotlib import pyplot as plt

    found = result.importances()
    _, axes = plt.subplots()
    axes.barh(
        [one.name for one in found],
        [one.fraction for one in found],
        xerr=[one.sd for one in found],
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(xlabel=_LABEL, xlim=(0, None))
    return _sized(axes)
