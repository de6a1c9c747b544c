"""The whole pipeline in memory, and what it leaves behind."""

import logging
import re
import sys

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.plotly import JSONDataset as FigureDataset

from mental_slm.datasets import MarkdownDataset
from mental_slm.datasets.table import TableDataset
from mental_slm.pipelines.sweep import create_pipeline
from mental_slm.pipelines.sweep.choice import choose
from mental_slm.pipelines.sweep.nodes import search_settings
from mental_slm.training.options import FineTuningOptions

FIGURES = ("history", "importance", "parallel", "slices")


@pytest.fixture(scope="module")
def inputs(
    model_cache, tiny_options, fine_tuning, make_options, make_pairs, tmp_path_factory
) -> dict:
    return {
        "pairs_train": make_pairs(20),
        "pairs_val": make_pairs(10, "val"),
        "params:sweep": make_options(n_trials=7, pruner="none"),
        "params:fine_tuning": fine_tuning,
        "params:model": tiny_options,
        "model_cache": model_cache,
        "sweep_workspace": tmp_path_factory.mktemp("work"),
    }


@pytest.fixture(scope="module")
def results(inputs, tmp_path_factory) -> dict:
    """Run the pipeline once, with the datasets of the catalog in a folder of its own."""
    data = tmp_path_factory.mktemp("data")
    catalog = DataCatalog(
        {name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()}
    )
    catalog["sweep_trials"] = TableDataset(filepath=str(data / "trials.parquet"))
    catalog["sweep_best"] = JSONDataset(filepath=str(data / "best.json"))
    catalog["sweep_report"] = MarkdownDataset(filepath=data / "report.md")
    for name in FIGURES:
        catalog[f"sweep_{name}"] = FigureDataset(filepath=str(data / f"{name}.json"))
    SequentialRunner().run(create_pipeline(), catalog)
    return {name: catalog.load(name) for name in create_pipeline().all_outputs()}


def test_the_recipes_come_first_with_their_own_settings(results):
    first, second = (results["sweep_trials"].iloc[number] for number in (0, 1))
    assert (first["recipe"], first["r"], first["alpha"]) == ("original", 64, 128)
    assert (first["learning_rate"], first["targets"]) == (1e-5, "q_proj, v_proj")
    assert (second["recipe"], second["r"], second["alpha"]) == ("default", 8, 16)
    assert (second["learning_rate"], second["targets"]) == (1e-3, "all-linear")


def test_the_others_lie_in_the_space_and_differ(results, inputs):
    options = inputs["params:sweep"]
    drawn = results["sweep_trials"].iloc[2:]
    assert len(drawn) == 5
    assert drawn["learning_rate"].between(1e-4, 3e-2).all()
    assert set(drawn["r"]) <= set(options.r)
    assert set(drawn["alpha_over_r"]) <= set(options.alpha_over_r)
    assert (drawn["alpha"] == drawn["alpha_over_r"] * drawn["r"]).all()
    assert drawn["learning_rate"].nunique() == 5
    assert (results["sweep_trials"]["steps"] == 4).all()
    assert all(list(steps) == [1, 2] for steps in results["sweep_trials"]["validation_steps"])


def test_the_best_is_the_lowest_and_its_params_say_how_to_use_it(results, inputs):
    best, trials = results["sweep_best"], results["sweep_trials"]
    assert best["validation_loss"] == trials["validation_loss"].min()
    row = trials[trials["trial"] == best["trial"]].iloc[0]
    said = dict(
        entry.removeprefix("fine_tuning.").split("=")
        for entry in best["params"].removeprefix("--params ").split(",")
    )
    block = {
        **{"recipes": inputs["params:fine_tuning"].recipes},
        "learning_rate": said["learning_rate"],
        "lora": {"r": said["lora.r"], "alpha": said["lora.alpha"]},
    }
    options = FineTuningOptions.model_validate(block)
    assert options.learning_rate == row["learning_rate"]  # to the last digit
    assert (options.lora.r, options.lora.alpha) == (row["r"], row["alpha"])
    assert options.lora.targets == "all-linear"
    assert best["recipes"].keys() == {"original", "default"}
    assert best["recipes"]["original"] > best["validation_loss"]


def test_a_recipe_that_wins_is_named_and_another_one_searched_around_too(results):
    trials = results["sweep_trials"].copy()
    trials.loc[0, "validation_loss"] = 0.0
    assert choose(trials, "default")["params"] == "--params fine_tuning.recipe=original"
    trials.loc[3, "validation_loss"] = -1.0
    said = choose(trials, "mine")["params"]
    assert said.startswith("--params fine_tuning.recipe=mine,fine_tuning.learning_rate=")
    trials.loc[3, "state"] = "pruned"  # its last loss says nothing about its end
    assert choose(trials, "default")["trial"] == 0


def test_the_figures_show_the_trials(results):
    history = results["sweep_history"]
    points = next(trace for trace in history.data if trace.mode == "markers")
    assert list(points.y) == list(results["sweep_trials"]["validation_loss"])
    bars = results["sweep_importance"].data[0]
    assert set(bars.y) == {"learning_rate", "r", "alpha_over_r"}
    assert sum(bars.x) == pytest.approx(1)
    lines = [trace for trace in results["sweep_parallel"].data if trace.mode == "lines"]
    assert len(lines) == 6  # the original recipe is no point of the space
    assert all(len(line.x) == 4 for line in lines)
    assert [len(trace.x) for trace in results["sweep_slices"].data] == [6, 6, 6]


def test_few_trials_make_no_importance(results, inputs):
    from mental_slm.pipelines.sweep.figures import draw_importance

    figure = draw_importance(results["sweep_trials"].iloc[:3], inputs["params:sweep"])
    assert not figure.data
    assert "needs 4 trials" in figure.layout.title.text


def test_the_report_holds_every_trial_and_the_command(results):
    report, best = results["sweep_report"], results["sweep_best"]
    assert f"kedro run --pipelines fine_tuning {best['params']}" in report
    assert len(re.findall(r"^\| \d", report, re.M)) == 7
    assert "- recipe `original`: " in report


def test_a_finished_study_trains_nothing_and_more_trials_go_on_with_it(
    results, inputs, make_search, tmp_path, monkeypatch, caplog
):
    from mental_slm.pipelines.sweep import search as module

    caplog.set_level(logging.INFO)
    first = make_search(tmp_path, n_trials=3).run()
    bench, trials = module.TrialBench, []

    class Counted(bench):
        def run(self, config, observe):
            trials.append(config.output_folder.name)
            return super().run(config, observe)

    monkeypatch.setattr(module, "TrialBench", Counted)
    assert make_search(tmp_path, n_trials=3).run() == first
    assert trials == []
    assert "3 of 3 trials are finished" in caplog.text
    more = make_search(tmp_path, n_trials=4).run()
    assert more[:3] == first
    assert trials == ["trial-3"]
    make_search(tmp_path, n_trials=1, seed=1).run()  # another study
    assert trials == ["trial-3", "trial-0"]


def test_a_bad_trial_is_pruned_on_the_way(make_search, tmp_path, fine_tuning):
    recipes = {
        **fine_tuning.recipes,
        "good": {"learning_rate": 1e-2, "warmup": 0.0, "lora": {"r": 8, "alpha": 16}},
        "still": {"learning_rate": 1e-9},
    }
    around = fine_tuning.model_copy(update={"recipes": recipes})
    trials = make_search(
        tmp_path, around, n_trials=3, recipes=["good", "default", "still"], validations=4
    ).run()
    assert [trial["state"] for trial in trials] == ["complete", "complete", "pruned"]
    assert trials[2]["reason"] == "worse than others at the same point"
    assert trials[2]["steps"] < 4
    assert len(trials[2]["validation_losses"]) == trials[2]["steps"]


def test_a_trial_that_diverges_counts_and_none_but_such_is_an_error(make_search, tmp_path):
    wild = {"learning_rate": {"low": 1e37, "high": 1e38}, "recipes": ["default"], "n_trials": 2}
    trials = make_search(tmp_path, **wild).run()
    assert [trial["state"] for trial in trials] == ["complete", "pruned"]
    assert "became" in trials[1]["reason"]
    with pytest.raises(ValueError, match=r"none of 1 trials .*lower sweep.learning_rate.high"):
        make_search(tmp_path, **{**wild, "recipes": [], "n_trials": 1}).run()


def test_a_trial_without_room_is_pruned_with_the_plan_s_words(make_search, tmp_path, fine_tuning):
    small = fine_tuning.plan.model_copy(update={"memory_gb": 0.1})
    around = fine_tuning.model_copy(update={"plan": small})
    with pytest.raises(ValueError, match=r"none of 1 trials came to its end \(.* needs .* GB"):
        make_search(tmp_path, around, n_trials=1).run()


def test_a_timeout_ends_the_search_between_trials(make_search, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert len(make_search(tmp_path, timeout=0.001, n_trials=3).run()) == 1
    assert "sweep.timeout: 1 of 3 trials" in caplog.text


def test_an_unknown_recipe_is_named_with_those_there_are(make_search, tmp_path):
    with pytest.raises(ValueError, match="sweep.recipes: there is no 'best'; .*default, original"):
        make_search(tmp_path, recipes=["best"])


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("no url", r"sweep.storage: no url cannot be opened"),
        ("sqlite:////nowhere/study.db", r"sweep.storage: sqlite:////nowhere/study.db cannot be"),
        ("postgresql+nodriver://host/name", r"sweep.storage: .* cannot be opened as a study"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named(make_search, tmp_path, storage, message):
    with pytest.raises(ValueError, match=message):
        make_search(tmp_path, storage=storage).run()


def test_a_password_in_the_storage_is_refused_and_not_repeated(make_search, tmp_path):
    with pytest.raises(ValueError, match="sweep.storage: holds a password") as error:
        make_search(tmp_path, storage="postgresql://me:hunter2@host/name").run()
    assert "hunter2" not in str(error.value)


def test_a_damaged_study_is_named(make_search, tmp_path):
    (tmp_path / "study.db").write_text("no database at all, but long enough to be looked at" * 9)
    with pytest.raises(ValueError, match=r"sweep.storage: .*study.db cannot be opened"):
        make_search(tmp_path).run()


def test_without_optuna_the_command_is_named(inputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    names = [name for node in create_pipeline().nodes[:1] for name in node.inputs]
    with pytest.raises(ValueError, match=r"needs the package optuna.*pip install 'mental-slm\[sw"):
        search_settings(*(inputs[name] for name in names))


def test_no_private_word_is_logged(make_search, make_pairs, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="mental_slm")
    make_search(tmp_path, n_trials=1).run()
    for pair in make_pairs(20) + make_pairs(10, "val"):
        assert pair["post"] not in caplog.text
        assert pair["response"] not in caplog.text


def test_nodes_have_verb_names_and_tags():
    nodes = {node.name: node.tags for node in create_pipeline().nodes}
    assert set(nodes) == {
        "search_settings",
        "choose_settings",
        *(f"draw_sweep_{name}" for name in FIGURES),
        "report_sweep",
    }
    assert {"gpu", "slow", "network"} <= nodes["search_settings"]
