"""The pairs: joined one to one, label-blind where they must be, and the answer never in the question."""

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner

from mental_slm.fingerprints import digest
from mental_slm.pipelines.augmentation import create_pipeline
from mental_slm.pipelines.augmentation.nodes import (
    ask_template_teacher,
    join_pairs,
    render_requests,
    set_validation_aside,
)
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.prompts import student_prompt
from mental_slm.pipelines.augmentation.template_teacher import CRISIS_SENTENCE, compose_answer
from mental_slm.records import validate_pairs
from mental_slm.tasks import ANSWER_PREFIX, DATASET_TASK, TASKS, parse_answer

OPTIONS = AugmentationOptions(teacher="template", validation_share=0.2)


@pytest.fixture
def corpus() -> pd.DataFrame:
    rows = []
    for dataset, name in DATASET_TASK.items():
        for number in range(40):
            labels = TASKS[name].labels
            text = (
                f"Entry {number} of {dataset}. The kettle hums and I count the days until spring."
            )
            rows.append(
                {
                    "record_id": f"{dataset}-{number:03d}",
                    "text_id": digest(text),
                    "dataset": dataset,
                    "task": name,
                    "text": text,
                    "label": labels[number % len(labels)],
                    "split": "test" if number % 5 == 0 else "train",
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def result(corpus: pd.DataFrame) -> dict:
    catalog = DataCatalog()
    catalog["corpus"] = corpus
    catalog["params:augmentation"] = OPTIONS
    outputs = SequentialRunner().run(create_pipeline(), catalog)
    loaded = {name: dataset.load() for name, dataset in outputs.items()}
    posts = set_validation_aside(corpus, OPTIONS)
    requests = render_requests(posts, OPTIONS)
    return loaded | {"teacher_responses": ask_template_teacher(requests, posts, OPTIONS)}


def test_every_post_becomes_one_pair(corpus, result):
    pairs = [*result["pairs_train"], *result["pairs_val"], *result["pairs_test"]]
    validate_pairs(pairs)
    assert sorted(pair["record_id"] for pair in pairs) == sorted(corpus["record_id"])
    assert result["augmentation_report"]["posts_without_answer"] == 0
    assert result["augmentation_report"]["answers_without_post"] == 0


def test_answers_belong_to_their_posts_whatever_the_order(corpus, result):
    shuffled = list(reversed(result["teacher_responses"]))
    posts = set_validation_aside(corpus, OPTIONS)
    again = join_pairs(posts, shuffled, OPTIONS)
    assert again[0] == result["pairs_train"]
    assert again[2] == result["pairs_test"]


def test_lost_and_foreign_answers_are_counted(corpus, result):
    posts = set_validation_aside(corpus, OPTIONS)
    foreign = {**result["teacher_responses"][0], "custom_id": "foreign"}
    responses = [*result["teacher_responses"][3:], foreign]
    report = join_pairs(posts, responses, OPTIONS)[3]
    assert (report["posts_without_answer"], report["answers_without_post"]) == (3, 1)


def test_two_answers_to_one_request_stop_the_run(corpus, result):
    responses = [*result["teacher_responses"], result["teacher_responses"][0]]
    with pytest.raises(ValueError, match="answered twice"):
        join_pairs(set_validation_aside(corpus, OPTIONS), responses, OPTIONS)


@pytest.mark.parametrize("split", ["pairs_train", "pairs_val", "pairs_test"])
def test_the_instruction_holds_no_gold_label_outside_the_option_list(corpus, result, split):
    texts = corpus.set_index("record_id")["text"]
    for pair in result[split]:
        task = TASKS[pair["task"]]
        frame = pair["instruction"].replace(texts[pair["record_id"]], "")
        options = f"Options: {'; '.join(task.phrases.values())}"
        assert options in frame
        frame = frame.replace(options, "").replace(task.question, "").lower()
        assert task.phrases[pair["label"]].lower() not in frame
        # the same frame for every label: nothing outside the post can predict it
        assert student_prompt(task, "") == pair["instruction"].replace(texts[pair["record_id"]], "")


def test_train_answers_end_with_the_gold_label_and_test_answers_are_blind(result):
    for pair in [*result["pairs_train"], *result["pairs_val"]]:
        assert parse_answer(TASKS[pair["task"]], pair["response"]) == pair["label"]
    for pair in result["pairs_test"]:
        assert ANSWER_PREFIX not in pair["response"]


def test_test_references_do_not_depend_on_the_label(corpus):
    task = TASKS["emotion"]
    flipped = corpus.copy()
    flipped["label"] = flipped.groupby("task")["label"].transform(lambda s: s.iloc[::-1].to_numpy())
    references = []
    for table in (corpus, flipped):
        catalog = DataCatalog()
        catalog["corpus"] = table
        catalog["params:augmentation"] = OPTIONS
        outputs = SequentialRunner().run(create_pipeline(), catalog)
        references.append([pair["response"] for pair in outputs["pairs_test"].load()])
    assert references[0] == references[1]
    assert compose_answer(task, "A long day ended.", "ab12", None) == compose_answer(
        task, "A long day ended.", "ab12", None
    )


def test_validation_is_taken_from_train_only_and_never_where_the_publisher_gave_one(corpus):
    corpus.loc[(corpus["dataset"] == "DR") & (corpus.index % 7 == 1), "split"] = "val"
    moved = set_validation_aside(corpus, OPTIONS)
    assert (moved.loc[corpus["split"] == "test", "split"] == "test").all()
    dr = corpus["dataset"] == "DR"
    assert moved.loc[dr, "split"].tolist() == corpus.loc[dr, "split"].tolist()
    share = (moved.loc[~dr, "split"] == "val").sum() / (corpus.loc[~dr, "split"] == "train").sum()
    assert 0.1 < share < 0.3


def test_equal_texts_move_together(corpus):
    twin = corpus[corpus["dataset"] == "Dreaddit"].assign(dataset="DepSeverity")
    moved = set_validation_aside(pd.concat([corpus, twin], ignore_index=True), OPTIONS)
    assert moved.groupby("text_id")["split"].nunique().max() == 1


def test_a_post_that_mentions_risk_gets_a_crisis_sentence_even_in_blind_answers():
    answer = compose_answer(TASKS["stress"], "Some days I want to die.", "0f", None)
    assert CRISIS_SENTENCE in answer
    assert CRISIS_SENTENCE not in compose_answer(TASKS["stress"], "I baked bread.", "0f", None)


def test_every_label_of_every_task_can_be_composed():
    for task in TASKS.values():
        for label in task.labels:
            answer = compose_answer(task, "It rained. I stayed in.", "5e", label)
            assert parse_answer(task, answer) == label
            assert "you have" not in answer.lower()
