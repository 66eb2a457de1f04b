"""Private doors of other packages: each is opened here and nowhere else.

Seen in hydra-core 1.3.8 and 1.4.0rc3, omegaconf 2.3.1 and 2.4.1rc1, optuna 5.0.0 and joblib 1.6.0.
After an upgrade of one of them, `tests/sweeper/test_private.py` fails first and names the door that
has moved.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import spawn
from types import ModuleType
from typing import Any

import cloudpickle
from hydra._internal import config_loader_impl
from hydra._internal.utils import _locate as locate  # its public `get_method` prints errors
from hydra.core import utils
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from joblib._parallel_backends import LokyBackend
from joblib.executor import get_memmapping_executor
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from optuna_joblib_sweeper.processes import follow_driver
from optuna_joblib_sweeper.secrets import masked

__all__ = ["TerminatedWorkerError", "locate", "native"]

get_overrides_dirname: Any = getattr(config_loader_impl, "get_overrides_dirname", None)
# From Hydra 1.4 on a trial's log has the error of its task.
log_job_error: Any = getattr(utils, "_log_job_error_to_file", lambda: None)
native = Override._convert_value  # an element of Hydra's parser as plain Python


def set_override_dirname(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Set `hydra.job.override_dirname` as Hydra does while it composes, without passwords.

    From Hydra 1.4 on it is an interpolation over the overrides in the config.
    """
    if get_overrides_dirname is not None:
        style = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = masked(
            get_overrides_dirname(list(overrides), style.exclude_keys, style.item_sep, style.kv_sep)
        )


def returned(job: JobReturn) -> Any:
    """What a task returned; raises what it raised, without the error that Hydra prints then."""
    if job.status == JobStatus.COMPLETED:
        return job._return_value
    raise job._return_value


def main_module() -> dict[str, str]:
    """How another process finds the script or module that this one runs; for `load_main`."""
    found = spawn.get_preparation_data("worker")
    return {key: found[key] for key in found if key.startswith("init_main")}


def load_main(main: Mapping[str, str]) -> None:
    """Run that script as a module, once, as multiprocessing does; its own `main` is not called."""
    spawn.prepare(main)


def can_be_sent(pickled: bytes) -> bool:
    """Whether another process can read it without the script that this one runs."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        cloudpickle.loads(pickled)
    except Exception:
        return False
    finally:
        sys.modules["__main__"] = main
    return True


def singletons() -> tuple[dict[str, Any], bool]:
    """Hydra's state for a worker, and whether it is whole.

    It lacks resolvers that can't be sent, as those with a lock or a cache: see `load_main`.
    """
    state: dict[str, Any] = dict(Singleton.get_state())
    resolvers = state["omegaconf_resolvers"]
    state["omegaconf_resolvers"] = {k: r for k, r in resolvers.items() if _is_sent(r)}
    return state, len(state["omegaconf_resolvers"]) == len(resolvers)


def set_singletons(state: Mapping[str, Any]) -> None:
    """Take over what `singletons` found in another process, beside the resolvers of this one."""
    here = dict(BaseContainer._resolvers)
    Singleton.set_state(dict(state))
    for name, resolver in here.items():
        BaseContainer._resolvers.setdefault(name, resolver)


def _is_sent(resolver: Any) -> bool:
    try:
        return can_be_sent(cloudpickle.dumps(resolver))
    except Exception:
        return False


def trial_id(trial: FrozenTrial) -> int:
    """What storages call a trial by."""
    return trial._trial_id


def optuna_trial(study: Study, trial: FrozenTrial) -> Trial:
    """The object that suggests values for a trial that a storage already has."""
    return Trial(study, trial._trial_id)


def share_search_spaces(sampler: BaseSampler, kept: dict[str, Any]) -> None:
    """Let samplers of one study go on with one record of the parameters that its trials have."""
    for name in ("_search_space", "_intersection_search_space", "_group_decomposed_search_space"):
        if hasattr(sampler, name):
            setattr(sampler, name, kept.setdefault(name, getattr(sampler, name)))


class OneLokyBackend(LokyBackend):  # type: ignore[misc]
    """A pool of one real process.

    For one job joblib runs everything inside the caller, which a crashing task would take along.
    So joblib counts two workers and gets one; `pre_dispatch=1` keeps it at one task.
    """

    def configure(self, n_jobs: int = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Start the process; called by joblib."""
        env, context = self._prepare_worker_env(n_jobs=1), parallel._id
        self._workers = get_memmapping_executor(
            1, timeout=300, env=env, context_id=context, **_followed()
        )
        self.parallel = parallel
        return 2


class FollowingLokyBackend(LokyBackend):  # type: ignore[misc]
    """A pool whose processes end with the driver, also those that it has sent nothing yet."""

    def configure(self, n_jobs: int = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Start the processes; called by joblib."""
        made: int = super().configure(n_jobs, parallel, **kwargs, **_followed())
        return made


def close_workers() -> None:
    """Let idle workers end, without waiting for them; the next pool starts others."""
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=False)


def _followed() -> dict[str, Any]:
    return {"initializer": follow_driver, "initargs": (os.getpid(),)}
