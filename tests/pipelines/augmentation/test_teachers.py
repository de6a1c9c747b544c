"""Teachers behind the pipeline, over real HTTP: what is sent, what is kept, what is asked again."""

import json
import os
import random
import signal
from datetime import date

import pytest
from openai_server import Answer, OpenAIServer, batch_line
from pydantic import SecretStr

from mental_slm.pipelines.augmentation import nodes
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.teachers import JOURNAL, Interrupted, read_recordings
from mental_slm.tasks import PROFILE_TASK

SPLITS = ("pairs_train", "pairs_val", "pairs_test")
KIND = (
    'The words that stand out are "count the days until spring", and they hold a quiet kind of '
    "waiting. It makes sense to feel that way, and sharing it with somebody who listens can make a "
    "day like this a little lighter than it was."
)


def as_asked(asked):
    """Answer as the teacher prompt asks: kindly, and with the label as last line if it is told."""
    told = asked.prompt.rpartition('End with the line "')[2].partition('"')[0]
    blind = "Leave the last line out" in asked.prompt
    crisis = " Please call a crisis line." if "suicidal" in told else ""
    return Answer(KIND + crisis if blind else f"{KIND}{crisis}\n{told}")


def asking(server, **changes):
    """Options for a server on this machine, which is free."""
    return {
        "teacher": "openai",
        "endpoint": {"base_url": server.url, "concurrency": 4, "backoff_s": 0.01},
        "budget_usd": None,
        **changes,
    }


def labelled(result):
    return [p for split in SPLITS for p in result[split] if p["task"] != PROFILE_TASK]


def test_a_server_is_asked_once_about_each_post(corpus, augment, workspace, caplog):
    caplog.set_level("DEBUG")
    corpus.loc[3, "text"] += " Write to jo.do@mail.example.org."
    with OpenAIServer(as_asked) as server:
        first = augment(corpus, **asking(server))
        assert len(server.asked) == len(corpus)
        again = augment(corpus, **asking(server))
        assert len(server.asked) == len(corpus)  # nothing is asked twice
    assert labelled(first) == labelled(again)
    assert len(labelled(first)) == len(corpus)
    assert first["augmentation_counts"]["filtering"]["rejected"] == 0
    sent = " ".join(asked.prompt for asked in server.asked)
    assert "example.org" not in sent and "<email>" in sent
    assert "kettle" not in caplog.text and "quiet kind" not in caplog.text
    gone_out = [json.loads(line) for line in (workspace / "disclosures.jsonl").open()]
    assert [len(line["custom_ids"]) for line in gone_out] == [len(corpus)] * 2
    assert gone_out[0]["provider"] == "127.0.0.1" and gone_out[0]["on_this_machine"]
    assert "kettle" not in json.dumps(gone_out)


def test_the_report_tells_what_asking_took(corpus, augment):
    with OpenAIServer(as_asked) as server:
        report = augment(corpus, max_posts=20, **asking(server))["augmentation_report"]
    assert "Teacher `openai` at 127.0.0.1." in report
    assert "20 came now, 0 are missing" in report
    assert "20 gpt-4o-mini-2024-07-18" in report


def test_the_key_reaches_the_server_and_nothing_else(corpus, augment, workspace, caplog):
    caplog.set_level("DEBUG")
    with OpenAIServer(as_asked, api_key="sk-secret") as server:
        result = augment(corpus, api_key=SecretStr("sk-secret"), max_posts=5, **asking(server))
    assert len(labelled(result)) == 5
    written = "".join(path.read_text() for path in workspace.glob("*.jsonl"))
    assert "sk-secret" not in caplog.text + written + json.dumps(result["augmentation_counts"])


def test_what_a_teacher_must_not_say_is_put_aside_with_a_reason(corpus, augment):
    faults = [
        Answer(None, refusal="I cannot help with that."),
        Answer(KIND, finish_reason="length"),
        Answer(KIND),  # no line with the label
        Answer(f"You clearly suffer from major depression. {KIND}\nAnswer: stressed"),
    ]

    def misbehave(asked):
        number = len(server.asked) - 1
        good = as_asked(asked)
        return faults[number] if number < len(faults) and "Leave" not in asked.prompt else good

    posts = corpus[corpus["dataset"] == "Dreaddit"].reset_index(drop=True).assign(split="train")
    posts["label"] = "yes"
    with OpenAIServer(misbehave) as server:
        single = {"base_url": server.url, "concurrency": 1, "backoff_s": 0.01}
        options = asking(server) | {"endpoint": single, "validation_share": 0.0}
        result = augment(posts, **options)
    reasons = {row["reason"] for row in result["rejected_answers"]}
    assert reasons == {"refusal", "cut_short", "label_contradiction", "diagnosis"}
    assert len(labelled(result)) == len(posts) - 4
    counts = result["augmentation_counts"]["filtering"]
    assert counts["rejected"] == 4 == sum(counts["by_reason"].values())


def test_a_test_post_stays_whatever_was_written_about_it(corpus, augment):
    def refuse_blind(asked):
        return (
            Answer(None, refusal="No.")
            if "Leave the last line out" in asked.prompt
            else as_asked(asked)
        )

    with OpenAIServer(refuse_blind) as server:
        result = augment(corpus, **asking(server))
    test = [pair for pair in result["pairs_test"] if pair["task"] != PROFILE_TASK]
    assert len(test) == (corpus["split"] == "test").sum()
    assert {pair["response"] for pair in test} == {""}
    assert sum(result["augmentation_counts"]["without_reference"].values()) == len(test)


def test_a_budget_ends_the_asking_and_the_rest_is_joined(corpus, augment):
    dear = {"input_per_million": 1000.0, "output_per_million": 1000.0, "as_of": date(2025, 1, 19)}
    with OpenAIServer(as_asked) as server:
        options = asking(server, prices={"gpt-4o-mini": dear}, budget_usd=20.0)
        result = augment(corpus, **options)
        asked, counts = len(server.asked), result["augmentation_counts"]
        assert 0 < asked < len(corpus)
        assert counts["asking"]["stopped_by"] == "budget"
        assert counts["asking"]["cost_usd"] <= 20.0
        assert counts["joining"]["posts_without_answer"] == len(corpus) - asked
        augment(corpus, **(options | {"budget_usd": None}))
        assert len(server.asked) == len(corpus)  # only the others were asked


def test_a_budget_needs_a_price(corpus, augment):
    with pytest.raises(ValueError, match=r"no price for mistral; add one"):
        augment(corpus, teacher="openai", allow_cloud=True, model="mistral", budget_usd=1.0)


def test_a_server_on_this_machine_is_free_unless_a_price_is_given(corpus, augment):
    with OpenAIServer(as_asked) as server:
        free = augment(corpus, max_posts=5, **asking(server, model="mistral", budget_usd=0.0))
        price = {"input_per_million": 10, "output_per_million": 10, "as_of": "2025-01-19"}
        dear = augment(
            corpus, max_posts=9, **asking(server, model="mistral", prices={"mistral": price})
        )
    assert free["augmentation_counts"]["asking"]["cost_usd"] == 0
    assert dear["augmentation_counts"]["asking"]["cost_usd"] > 0


def test_ctrl_c_keeps_what_was_answered_and_says_how_to_go_on(corpus, augment, workspace):
    presses = iter([signal.SIGINT])

    def interrupt(asked):
        if len(server.asked) >= 30:
            for press in presses:
                os.kill(os.getpid(), press)
        return as_asked(asked)

    with OpenAIServer(interrupt, latency=0.02) as server:
        with pytest.raises(Interrupted, match=r"of 200 answers in .*journal.jsonl. Run the same"):
            augment(corpus, **asking(server))
        kept = len((workspace / JOURNAL).read_text().splitlines())
        assert kept == len(server.asked) < len(corpus)  # answers under way were waited for
        augment(corpus, **asking(server))
        assert len(server.asked) == len(corpus)


def test_batches_give_the_pairs_that_single_requests_give(corpus, augment, tmp_path):
    """The batch comes back in another order; ids join it."""
    from openai_server import Asked, Fate

    def shuffled(_, requests):
        lines = []
        for request in requests:
            prompt = request["body"]["messages"][-1]["content"]
            answer = as_asked(Asked(request["body"], prompt, 1, 0.0))
            lines.append(batch_line(request, content=answer.content))
        random.Random(1).shuffle(lines)
        return Fate("completed", lines)

    with OpenAIServer(as_asked, fate=shuffled) as server:
        batch = {"requests_per_file": 90, "poll_s": 0.01, "max_poll_s": 0.05}
        batched = augment(corpus, **asking(server, teacher="openai_batch", batch=batch))
        assert len(server.batches) == 3 and not server.asked
        (tmp_path / "workspace" / JOURNAL).unlink()
        single = augment(corpus, **asking(server))
    assert labelled(batched) == labelled(single)


def test_recordings_are_joined_by_id_whatever_else_they_hold(corpus, augment, tmp_path):
    with OpenAIServer(as_asked) as server:
        made = augment(corpus, **asking(server))
    lines = [*made["teacher_responses"]]
    random.Random(2).shuffle(lines)
    failed = {**lines[0], "custom_id": "failed", "response": {"status_code": 500, "body": {}}}
    foreign = {**lines[0], "custom_id": "request-20250119000000000001"}
    second = [*lines[100:], lines[0], foreign, failed]
    for name, rows in (("one", lines[:100]), ("two", second)):
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text + "\n")
    files = f"{tmp_path / 'one.jsonl'}+{tmp_path / 'two.jsonl'}"
    read = augment(corpus, teacher="recorded", recorded=files)
    assert labelled(read) == labelled(made)
    told = read["augmentation_counts"]["asking"]
    assert (told["foreign"], told["failed"]) == (1, 1)


def test_recordings_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"augmentation.recorded: no file .*gone.jsonl"):
        read_recordings([], [str(tmp_path / "gone.jsonl")])
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"custom_id": "a", "response": \n')
    with pytest.raises(ValueError, match=r"broken.jsonl, line 1"):
        read_recordings([], [str(broken)])


def test_what_was_forgotten_leaves_the_journal_too(corpus, augment, workspace):
    gone = corpus["text_id"][7]
    with OpenAIServer(as_asked) as server:
        augment(corpus, **asking(server))
        journal = workspace / JOURNAL
        assert gone in journal.read_text()
        rest = corpus[corpus["text_id"] != gone].reset_index(drop=True)
        result = augment(rest, forgotten=[gone], **asking(server))
        assert len(server.asked) == len(corpus)
    assert gone not in journal.read_text()
    assert gone not in json.dumps([result[name] for name in SPLITS])


def test_what_the_answer_depends_on_is_in_the_id(corpus, prompts, options):
    def ids(table=corpus, **changes):
        chosen = AugmentationOptions.model_validate(
            {**options.model_dump(), "teacher": "openai", "allow_cloud": True, **changes}
        )
        posts, _ = nodes.mask_posts(table, chosen)
        return [r["custom_id"] for r in nodes.render_requests(posts, prompts, chosen)]

    base = ids()
    assert len(set(base)) == len(base) == len(corpus)
    assert [name.split("-")[0] for name in base] == corpus["text_id"].tolist()
    assert ids() == base
    for change in ({"model": "other"}, {"temperature": 0.0}, {"max_tokens": 99}, {"seed": 1}):
        assert not set(ids(**change)) & set(base)
    relabelled = corpus.assign(
        label=corpus.groupby("task")["label"].transform(lambda s: s.iloc[::-1].to_numpy())
    )
    changed = [a != b for a, b in zip(ids(relabelled), base, strict=True)]
    moved = (relabelled["label"] != corpus["label"]) & (corpus["split"] != "test")
    assert changed == moved.tolist()  # a blind request does not depend on the label
