"""Optuna's own plots of a study as matplotlib figures."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

log = logging.getLogger(__name__)

MOST_NAMED = 10  # trials in a legend


def study_figures(study: Study) -> Iterator[tuple[str, Any]]:
    """Yield each plot that the study has enough trials for, with its name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return
    if len(study.directions) > 1:
        wanted: dict[str, Any] = {"pareto_front": plots.plot_pareto_front}
    else:
        wanted = {
            "history": plots.plot_optimization_history,
            "parallel_coordinates": plots.plot_parallel_coordinate,
            "slice": plots.plot_slice,  # the value against each parameter
            "intermediate_values": plots.plot_intermediate_values,
        }
        if len(complete) > 1:
            wanted["importances"] = plots.plot_param_importances
    for name, plot in wanted.items():
        try:
            # Optuna sets a style of its own for the whole process: the app's pictures keep theirs.
            with matplotlib.rc_context(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # each is experimental, and says so each time
                axes = plot(study)
                figure = (axes.ravel()[0] if hasattr(axes, "ravel") else axes).figure
                if name == "intermediate_values":
                    _tidy_curves(figure.axes[0])
                figure.set_size_inches(9, 5)
                figure.tight_layout()  # warns where long names leave it no room
                if name == "slice":
                    _tidy_slices(figure)
        except Exception as error:
            # A space of one value, or all values equal: no plot is worth a failed study.
            log.info("no plot of %s: %s", name, error)
        else:
            yield name, figure
        finally:
            plt.close("all")


def _tidy_slices(figure: Any) -> None:
    """A layout of the panels alone: Optuna's leaves the colours' scale lying across them."""
    *panels, scale = figure.axes
    figure.set_size_inches(max(9, 3 * len(panels)), 5)
    scale.set_position((0.93, 0.13, 0.012, 0.77))
    scale.set_in_layout(False)
    figure.tight_layout(rect=(0, 0, 0.91, 1))


def _tidy_curves(axes: Any) -> None:
    """A legend of every trial would take the curves' room and still be cut off."""
    from matplotlib.ticker import MaxNLocator

    legend = axes.get_legend()
    if legend is not None and len(legend.get_texts()) > MOST_NAMED:
        legend.remove()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
