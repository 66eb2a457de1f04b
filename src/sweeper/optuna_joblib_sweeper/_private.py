"""Private doors of other packages: each is opened here and nowhere else.

Seen in hydra-core 1.3.8, omegaconf 2.3.1, optuna 5.0.0 and joblib 1.6.0. After an upgrade of one of
them, `tests/sweeper/test_private.py` fails first and names the door that has moved.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra._internal.utils import _locate as locate  # its public `get_method` prints errors
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from joblib._parallel_backends import LokyBackend
from joblib.executor import get_memmapping_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

__all__ = ["LokyBackend", "TerminatedWorkerError", "locate", "native"]

native = Override._convert_value  # an element of Hydra's parser as plain Python
_HYDRAS_RESOLVERS = ("now", "hydra", "python_version")


def override_dirname(config: DictConfig, overrides: Sequence[Override]) -> str:
    """The value of `hydra.job.override_dirname`, which Hydra sets while it composes."""
    style = config.hydra.job.config.override_dirname
    return get_overrides_dirname(list(overrides), style.exclude_keys, style.item_sep, style.kv_sep)


def returned(job: JobReturn) -> Any:
    """What a task returned; raises what it raised, without the error that Hydra prints then."""
    if job.status == JobStatus.COMPLETED:
        return job._return_value
    raise job._return_value


def app_resolvers() -> dict[str, Any]:
    """OmegaConf resolvers that the app registered; workers never run the app's main module."""
    found = {}
    for name, resolver in BaseContainer._resolvers.items():
        if not name.startswith("oc.") and name not in _HYDRAS_RESOLVERS:
            with contextlib.suppress(Exception):
                cloudpickle.dumps(resolver)
                found[name] = resolver
    return found


def add_resolvers(resolvers: Mapping[str, Any]) -> None:
    """Register what `app_resolvers` found in another process."""
    for name, resolver in resolvers.items():
        BaseContainer._resolvers.setdefault(name, resolver)


def trial_id(trial: FrozenTrial) -> int:
    """What storages call a trial by."""
    return trial._trial_id


def optuna_trial(study: Study, trial: FrozenTrial) -> Trial:
    """The object that suggests values for a trial that a storage already has."""
    return Trial(study, trial._trial_id)


class OneLokyBackend(LokyBackend):  # type: ignore[misc]
    """A pool of one real process.

    For one job joblib runs everything inside the caller, which a crashing task would take along.
    So joblib counts two workers and gets one; `pre_dispatch=1` keeps it at one task.
    """

    def configure(self, n_jobs: int = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Start the process; called by joblib."""
        env, context = self._prepare_worker_env(n_jobs=1), parallel._id
        self._workers = get_memmapping_executor(1, timeout=300, env=env, context_id=context)
        self.parallel = parallel
        return 2
