"""Sweeps in this process: what arrives in the task, what is refused, what is left behind."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from apps import Sweeps
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from hydra_plugins.optuna_joblib_sweeper.config import PRUNERS, SAMPLERS
from optuna_joblib_sweeper import SweepResult, current_trial, load_study
from optuna_joblib_sweeper._samplers import _PACKAGES
from optuna_joblib_sweeper._storage import open_storage
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import class_name
from versions import REGISTER, VERSION_BASE

RANDOM = ("hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1")
CUSTOM = (*RANDOM, "x=interval(0,1)")


def echo(config: Any) -> Any:
    """Note the config in the trial's own folder."""
    from optuna_joblib_sweeper import current_trial

    folder = current_trial().folder
    assert folder is not None
    (folder / "seen.txt").write_text(repr(OmegaConf.to_container(config)))
    return config.get("value", 0)


def seen(sweep: Sweeps) -> list[Any]:
    files = sorted((sweep.folder / "sweep" / "trials" / "test").glob("*/seen.txt"), key=_number)
    return [eval(file.read_text()) for file in files]


def _number(path: Path) -> int:
    return int(path.parent.name)


def shape(config: Any, trial: optuna.Trial) -> None:
    trial.suggest_float("+z", trial.params["x"], trial.params["x"] + 1)


def unknown(config: Any, trial: optuna.Trial) -> None:
    trial.suggest_float("nothing", 0, 1)


def raises(config: Any, trial: optuna.Trial) -> None:
    raise KeyError("no such parameter")


def refuse(config: Any) -> None:
    if config.x == 3:
        raise ValueError("3 is no good")


def complete(result: SweepResult) -> None:
    assert result.winner is not None
    assert result == load_study(result.storage, result.name)
    with Path("complete.txt").open("a") as file:
        file.write(f"{result.name} {result.winner.number} {result.run_id}\n")


def test_a_grid_runs_every_point_once_with_values_as_themselves(sweep: Sweeps) -> None:
    sweep(echo, "x=[1,2],null,true,0.5", "y='a,b',c")
    got = [(config["x"], config["y"]) for config in seen(sweep)]
    assert got == [(x, y) for x in ([1, 2], None, True, 0.5) for y in ("a,b", "c")]


def test_a_parameter_chooses_a_group_and_another_lives_only_under_it(sweep: Sweeps) -> None:
    config = sweep.folder / "conf" / "config.yaml"
    config.write_text(
        config.read_text()
        + "    params:\n"
        + "      optimizer: [sgd, adam]\n"
        + "      +optimizer.beta: {choices: [0.8, 0.9], when: optimizer=adam}\n"
    )
    sweep(echo)
    assert [c["optimizer"] for c in seen(sweep)] == [
        {"name": "sgd", "lr": 1.0},
        {"name": "adam", "lr": 1.0, "beta": 0.8},
        {"name": "adam", "lr": 1.0, "beta": 0.9},
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["nothing=1,2"], "nothing=1: "),
        (["x=interval(0,1)"], "a grid needs values that it can count"),
        (["hydra.sweeper.backend=loky", "hydra.sweeper.n_jobs=0"], "n_jobs must be at least 1"),
        (["hydra.sweeper.backend=threading"], "must be one that runs whole processes"),
        (["hydra.sweeper.direction=up"], "must be minimize, maximize"),
        (
            ["hydra.sweeper.direction=[minimize,maximize]", "hydra/sweeper/pruner=median"],
            "pruner must be none where there are several objectives, got 'MedianPruner'",
        ),
        *(
            ([f"hydra.sweeper.study_name={name}"], "study_name must be null, or a name of 1 to 200")
            for name in (
                "/x",
                "../x",
                "a/b",
                "''",
                ".",
                "..",
                "' a'",
                "'a\\b'",
                "'a\nb'",
                "x" * 201,
            )
        ),
        (["hydra.sweeper.on_complete=no.such"], "hydra.sweeper.on_complete=no.such: "),
        (["x=1", "hydra.sweeper.check=test_sweeps.RANDOM"], "test_sweeps.RANDOM: not a function"),
        ([*CUSTOM, "hydra.sweeper.custom_search_space=test_sweeps.unknown"], "space: ConfigComp"),
        ([*CUSTOM, "hydra.sweeper.custom_search_space=test_sweeps.raises"], "space: KeyError: 'no"),
        (["x=range(0,1,0)"], "x: range() arg 3 must not be zero"),
        *(
            # Where somebody has installed the package, there is nothing to refuse.
            pytest.param(
                [f"hydra/sweeper/sampler={name}"],
                f"{sampler} needs the package {package}",
                marks=pytest.mark.skipif(
                    find_spec(package) is not None, reason=f"{package} is installed"
                ),
            )
            for name, sampler, package in (
                ("cmaes", "CmaEsSampler", "cmaes"),
                ("gp", "GPSampler", "torch"),
            )
        ),
        (["hydra/sweeper/pruner=threshold"], "hydra.sweeper.pruner: optuna.pruners.Threshold"),
        (["x=1,2,3", "hydra.sweeper.check=test_sweeps.refuse"], "x=3: 3 is no good"),
        (["hydra.sweeper.confirm.top=2", "y=1,2", "seed=null"], "hydra.sweeper.confirm.key=seed"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_created(
    sweep: Sweeps, overrides: list[str], message: str
) -> None:
    with pytest.raises(HydraException) as refusal:
        sweep(echo, *overrides)
    assert message in str(refusal.value)
    assert sorted(path.name for path in sweep.folder.iterdir()) == ["conf"]


def test_a_sweep_over_nothing_is_warned_of(sweep: Sweeps, caplog: pytest.LogCaptureFixture) -> None:
    sweep(echo, "x=1", "hydra.sweeper.n_trials=2", "hydra/sweeper/sampler=random")
    assert "nothing is swept" in caplog.text


def test_a_hook_that_does_not_exist_is_told_once(
    sweep: Sweeps, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SweepError, match="on_complete=no"):
        sweep(echo, "x=1,2", "hydra.sweeper.on_complete=no.such")
    assert "no.such" not in caplog.text


def test_a_dry_run_refuses_what_the_start_would_refuse(sweep: Sweeps) -> None:
    dry = "hydra.sweeper.dry_run=true"
    sweep(echo, "x=1,2")
    with pytest.raises(SweepError, match=r"\+ space: x = choice\(1,3\)"):
        sweep(echo, "x=1,3", dry)
    sweep(echo, "x=1,2", dry)
    (sweep.folder / "thesis.txt").write_text("Chapter 1\n")
    for storage, reason in {
        "thesis.txt": "is no journal",
        "thesis.txt/journal": "can't be written",
        "nonsense://x": "can't be opened",
    }.items():
        for overrides in ((), (dry,)):
            with pytest.raises(SweepError, match=reason):
                sweep(echo, "x=1,2", f"hydra.sweeper.storage={storage}", *overrides)
    held = FileLock(sweep.folder / "optuna.journal.sweep-driver")
    with held, pytest.raises(SweepError, match="in use by another sweep"):
        sweep(echo, "x=1,2", dry)


@pytest.mark.parametrize("kill_after", ["nothing", "the study", "its folder"])
@pytest.mark.parametrize("storage", ["optuna.journal", "sqlite:///study.db"])
def test_a_study_that_was_not_built_to_its_end_is_built(
    sweep: Sweeps, storage: str, kill_after: str
) -> None:
    opened = open_storage(storage)
    if kill_after != "nothing":
        study = optuna.create_study(study_name="test", storage=opened)
        if kill_after == "its folder":
            study.set_user_attr("folder", str(sweep.folder / "elsewhere"))
    sweep(echo, "x=1,2", f"hydra.sweeper.storage={storage}")
    result = load_study(storage, "test")
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    assert result.trials[0].folder == sweep.folder / "sweep" / "trials" / "test" / "0"


def test_a_study_of_another_program_is_not_taken_over(sweep: Sweeps) -> None:
    study = optuna.create_study(study_name="test", storage=open_storage("optuna.journal"))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(SweepError, match="or by another program"):
        sweep(echo, "x=1,2")
    optuna.create_study(
        study_name="other", direction="maximize", storage=open_storage("optuna.journal")
    )
    with pytest.raises(SweepError, match="or by another program"):
        sweep(echo, "x=1,2", "hydra.sweeper.study_name=other")


def test_a_dry_run_counts_and_creates_nothing(
    sweep: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(echo, "x=1,2,3", "y=a,b", "hydra.sweeper.dry_run=true")
    assert "6 trials of a grid of 6 points" in capsys.readouterr().out
    assert sorted(path.name for path in sweep.folder.iterdir()) == ["conf"]


def _is_installed(sampler: str) -> bool:
    packages = _PACKAGES.get(class_name(SAMPLERS[sampler]), ())
    return all(find_spec(package) for package in packages)


# A grid takes its points from the space, and has tests of its own.
INSTALLED = [name for name in SAMPLERS if name != "grid" and _is_installed(name)]


@pytest.mark.parametrize("sampler", INSTALLED)
def test_every_installed_sampler_runs(sweep: Sweeps, sampler: str) -> None:
    config = f"hydra/sweeper/sampler={sampler}"
    trials = "hydra.sweeper.n_trials=4"
    sweep(lambda c: c.x, config, "x=interval(0,1)", trials, "hydra.sweeper.sampler.seed=3")
    values = [trial.params["x"] for trial in sweep.study().trials]
    assert len(set(values)) == 4


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_judges(sweep: Sweeps, pruner: str) -> None:
    def descend(config: Any) -> float:
        trial = current_trial()
        for step in range(3):
            trial.report(config.x, step)
            if trial.should_prune():
                break
        return float(config.x)

    extra = ["hydra.sweeper.pruner.upper=2"] if pruner == "threshold" else []
    sweep(descend, f"hydra/sweeper/pruner={pruner}", "x=range(4)", *extra)
    states = {trial.state.name for trial in sweep.study().trials}
    assert states <= {"COMPLETE", "PRUNED"}
    if pruner == "threshold":
        assert sweep.study().trials[3].state.name == "PRUNED"


def test_a_verdict_heeded_is_pruned_one_ignored_is_complete_and_raising_works_too(
    sweep: Sweeps,
) -> None:
    def task(config: Any) -> float:
        import optuna

        trial = current_trial()
        trial.report(9.0, 0)
        assert trial.should_prune()
        if config.x == "raise":
            raise optuna.TrialPruned
        if config.x == "ignore":
            trial.report(1.0, 1)
        return 1.0

    pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=8")
    sweep(task, *pruner, "x=heed,raise,ignore")
    trials = sweep.study().trials
    assert [trial.state.name for trial in trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    assert trials[0].value == 9.0


def test_two_objectives_leave_a_pareto_front(sweep: Sweeps) -> None:
    def task(config: Any) -> Any:
        trial = current_trial()
        trial.report(1.0, 0)
        return float(config.x), -float(config.x) if config.y == "front" else 9.0

    directions = "hydra.sweeper.direction=[minimize,minimize]"
    found = sweep(task, "x=1,2,3", "y=front,behind", directions)
    solutions = {s["params"]["x"]: s for s in found["solutions"]}
    assert {x: s["values"] for x, s in solutions.items()} == {
        1: [1.0, -1.0],
        2: [2.0, -2.0],
        3: [3.0, -3.0],
    }
    assert [solutions[x]["trial"] for x in (1, 2, 3)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("[1, 2]", "the task must return one number, got [1, 2]"),
        ("None", "the task must return one number, got None"),
        ("float('nan')", "the task must return finite numbers, got nan"),
        ("-float('inf')", "the task must return finite numbers, got -inf"),
        ("exit(3)", "SystemExit: 3"),
        ("[0] * 10**15", "MemoryError"),
        ("float('inf')", "the task must return finite numbers, got inf"),
        ("10**400", "the task must return one number, got 1000000"),
        ("type('Odd', (), {'__float__': lambda self: 1 / 0})()", "the task must return one number"),
    ],
)
def test_a_wrong_value_fails_the_trial_with_its_reason(
    sweep: Sweeps, returned: str, reason: str
) -> None:
    sweep(lambda c: eval(returned) if c.x == 1 else 2.0, "x=1,2")
    first, second = sweep.study().trials
    assert first.user_attrs["reason"].startswith(reason)
    assert first.state.name == "FAIL"
    assert second.value == 2.0


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])
def test_values_that_are_not_finite_never_reach_a_sampler(sweep: Sweeps, sampler: str) -> None:
    def task(config: Any) -> Any:
        trial = current_trial()
        trial.report(float("nan"), 0)
        odd = (float("nan"), float("inf"), -float("inf"))
        return (odd[trial.number] if trial.number < 3 else config.x), 1.0

    several = ("hydra.sweeper.direction=[minimize,maximize]", "hydra.sweeper.n_trials=6")
    sweep(task, f"hydra/sweeper/sampler={sampler}", "x=interval(0,1)", *several)
    states = [trial.state.name for trial in sweep.study().trials]
    assert states == ["FAIL"] * 3 + ["COMPLETE"] * 3


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_report_that_is_not_finite_harms_no_pruner(
    sweep: Sweeps, pruner: str, value: float
) -> None:
    def task(config: Any) -> float:
        trial = current_trial()
        for step in range(3):
            trial.report(value if config.x == 1 else 1.0, step)
            if trial.should_prune():
                return 0.0
        return float(config.x)

    extra = ["hydra.sweeper.pruner.upper=2"] if pruner == "threshold" else []
    if pruner == "wilcoxon":
        extra = ["hydra.sweeper.backend=loky"]  # where Optuna's warning is no error
    sweep(task, f"hydra/sweeper/pruner={pruner}", "x=0,1,2", "hydra.sweeper.n_jobs=1", *extra)
    assert {trial.state.name for trial in sweep.study().trials} <= {"COMPLETE", "PRUNED"}


def test_a_study_without_a_complete_trial_says_why(sweep: Sweeps) -> None:
    first = "of 2, 2 failed; the first to fail was trial 0: ZeroDivisionError: division by zero"
    with pytest.raises(SweepError, match=first):
        sweep(lambda c: 1 / 0, "x=1,2")

    def task(config: Any) -> float:
        current_trial().report(9, 0)
        assert current_trial().should_prune()
        return 0.0

    pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=8")
    with pytest.raises(SweepError, match="of 2: all were pruned"):
        sweep(task, "x=1,2", *pruner, "hydra.sweeper.study_name=pruned")


def test_hooks_shape_the_space_and_get_the_winner_once(sweep: Sweeps) -> None:
    hooks = (
        *RANDOM,
        "hydra.sweeper.custom_search_space=test_sweeps.shape",
        "hydra.sweeper.on_complete=test_sweeps.complete",
        "x=interval(0,1)",
        "hydra.sweeper.n_trials=3",
    )
    sweep(echo, *hooks)
    found = sweep(echo, *hooks)
    best = sweep.study().best_trial
    assert Path("complete.txt").read_text() == f"test {best.number} None\n"
    assert all(c["x"] <= c["z"] <= c["x"] + 1 for c in seen(sweep))
    assert found["best_params"]["+z"] == best.params["+z"]


def test_a_resume_with_another_space_or_config_is_refused_with_the_difference(
    sweep: Sweeps,
) -> None:
    def task(config: Any) -> float:
        return float(config.x)

    sweep(task, "x=1,2", "y=b")
    changes = {
        "x=1,3": "- space: x = choice(1,2)\n+ space: x = choice(1,3)",
        "y=c": "- 'y': b\n+ 'y': c",
        "hydra.sweeper.direction=maximize": "- direction: minimize\n+ direction: maximize",
    }
    for change, difference in changes.items():
        with pytest.raises(SweepError) as refusal:
            sweep(task, "x=1,2", "y=b", change)
        assert difference in str(refusal.value)
    for allowed in ("hydra.sweeper.n_jobs=1", "hydra.sweeper.threads=2"):
        sweep(task, "x=1,2", "y=b", allowed)
    sweep(task, "x=1,2", "y=b", "seed=5", "hydra.sweeper.study_name=other")
    sweep(task, "x=1,2", "hydra.sweeper.study_name=third", "hydra.sweeper.resume_ignore=[y]")
    sweep(task, "x=1,2", "y=c", "hydra.sweeper.study_name=third", "hydra.sweeper.resume_ignore=[y]")
    assert len(sweep.study().trials) == 2


def test_target_and_patience_end_a_study(sweep: Sweeps) -> None:
    one = "hydra.sweeper.n_jobs=1"
    sweep(lambda c: c.x, one, "x=5,4,3,2,1", "hydra.sweeper.target=3")
    assert len(sweep.study().trials) == 3
    sweep(lambda c: c.x, one, "x=5,4,3,2,1", "hydra.sweeper.target=null")
    assert len(sweep.study().trials) == 5
    name = "hydra.sweeper.study_name"
    sweep(lambda c: c.x, one, "x=range(1,50)", "hydra.sweeper.patience=4", f"{name}=patience")
    storage = sweep.study()._storage
    counts = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage)}
    assert counts["patience"] == 5


@pytest.mark.parametrize("limit", ["fail_fast=true", "max_failure_rate=0.2"])
def test_too_many_failures_stop_the_study_with_the_first_reason(sweep: Sweeps, limit: str) -> None:
    def task(config: Any) -> float:
        raise ValueError("no luck")

    with pytest.raises(SweepError, match="no luck"):
        sweep(task, "x=range(5)", "hydra.sweeper.n_jobs=1", f"hydra.sweeper.{limit}")
    assert len(sweep.study().trials) == (1 if "fast" in limit else 2)


def test_confirmation_crowns_by_the_mean_of_fresh_seeds(
    sweep: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(config: Any) -> float:
        trial = current_trial()
        assert trial.confirming == (config.seed != 0)
        # x=0 is lucky with the sweep's own seed; x=1 is better with every other.
        lucky = config.x == 0 and config.seed == 0
        return 0.0 if lucky else 5.0 - 2 * config.x + config.seed / 100

    found = sweep(task, "x=0,1,-9", "hydra.sweeper.confirm.top=2", "hydra.sweeper.confirm.seeds=3")
    assert found["best_trial"] == 1
    assert found["best_value"] == 3.0
    assert found["confirmed_values"] == pytest.approx([3.01, 3.02, 3.03])
    assert "Confirmed: trial 1 with 3 in the sweep, 3.02 in the mean of 3 fresh seeds" in (
        capsys.readouterr().out
    )
    assert len(sweep.study().trials) == 3  # the confirmation is a study of its own


def test_a_confirmation_skips_the_seeds_that_a_trial_has_used(sweep: Sweeps) -> None:
    def task(config: Any) -> float:
        return float(config.seed)

    skip = ("hydra.sweeper.confirm.seeds=2", "hydra.sweeper.confirm.skip=5")
    found = sweep(task, "x=0,1", "hydra.sweeper.confirm.top=1", *skip)
    assert sorted(found["confirmed_values"]) == [5.0, 6.0]


def test_the_winner_is_an_overlay_that_composes_again_and_can_be_overridden(sweep: Sweeps) -> None:
    found = sweep(lambda c: c.x, "optimizer=sgd,adam", "optimizer.lr=0.5", "x=3,[2,2],2", "y=' z'")
    assert found["name"] == "optuna"
    assert found["best_params"] == {"optimizer": "sgd", "x": 2}
    assert (found["best_value"], found["best_trial"], found["best_run_id"]) == (2, 2, None)

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(sweep.folder / "conf"), **VERSION_BASE):
        path = f"hydra.searchpath=[file://{sweep.folder}/sweep/best]"
        again = compose("config", overrides=[path, "+experiment=test", "seed=4"])
    assert OmegaConf.to_container(again) == {
        "optimizer": {"name": "sgd", "lr": 0.5},
        "x": 2,
        "y": " z",
        "seed": 4,
    }


def test_the_folder_of_a_trial_is_its_own_even_where_the_output_folder_is_shared(
    sweep: Sweeps,
) -> None:
    sweep(echo, "x=1,2", "hydra.sweep.subdir=.")
    assert [config["x"] for config in seen(sweep)] == [1, 2]


@pytest.mark.parametrize(
    ("override", "folders"),
    [
        ("hydra.sweep.subdir=s_${hydra.job.num}", ["sweep/s_0", "sweep/s_1"]),
        ("hydra.sweep.subdir=${hydra.job.id}", ["sweep/app_0", "sweep/app_1"]),
        ("hydra.sweep.subdir=${hydra.job.override_dirname}", ["sweep/x=1", "sweep/x=2"]),
        ("hydra.sweep.subdir=of_${x}", ["sweep/of_1", "sweep/of_2"]),
        ("hydra.sweep.dir=sweep/r_${hydra.job.num}", ["sweep/r_0/0", "sweep/r_1/1"]),
        ("hydra.sweep.dir=sweep/${hydra.job.override_dirname}", ["sweep/x=1/0", "sweep/x=2/1"]),
    ],
)
def test_a_trials_output_folder_is_named_as_in_hydras_own_sweepers(
    sweep: Sweeps, override: str, folders: list[str]
) -> None:
    def task(config: Any) -> float:
        from hydra.core.hydra_config import HydraConfig

        Path(HydraConfig.get().runtime.output_dir, "mine.txt").touch()
        return float(config.x)

    sweep(task, "x=1,2", override)
    assert sweep.study().best_value == 1.0
    made = sorted(str(path.parent) for path in Path().rglob("mine.txt"))
    assert made == folders


@pytest.mark.parametrize("subdir", ["../${x}", "/elsewhere", "${hydra.job.override_dirname}"])
def test_no_trial_writes_outside_the_folder_of_the_sweep(sweep: Sweeps, subdir: str) -> None:
    with pytest.raises(SweepError, match="leads out of"):
        sweep(lambda c: 0, "x='../../../a','../../../b'", f"hydra.sweep.subdir='{subdir}'")
    assert sorted(path.name for path in sweep.folder.iterdir() if path.is_dir()) == [
        "conf",
        "sweep",
    ]


def test_resolvers_of_the_main_module_reach_the_workers(sweep: Sweeps) -> None:
    getattr(OmegaConf, REGISTER)("twice", lambda x: 2 * x, replace=True)
    config = sweep.folder / "conf" / "config.yaml"
    config.write_text(config.read_text() + "doubled: ${twice:${x}}\n")
    try:
        found = sweep(lambda c: c.doubled, "x=1,2")
    finally:
        OmegaConf.clear_resolver("twice")
    assert found["best_value"] == 2


def test_sequential_runs_in_this_process(sweep: Sweeps) -> None:
    found = sweep(lambda c: os.getpid(), "x=1,2", "hydra.sweeper.backend=sequential")
    assert found["best_value"] == os.getpid()


def test_outside_a_sweep_the_current_trial_is_false_and_does_nothing() -> None:
    trial = current_trial()
    assert not trial
    trial.report(1.0, 0)
    assert trial.should_prune() is False
    assert (trial.number, trial.folder, trial.mlflow_run_id, trial.attempt) == (None, None, None, 0)
