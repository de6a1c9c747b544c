import pandas as pd
import pytest

from mental_slm.datasets.remote_file import SourceFileError
from mental_slm.pipelines.ingestion import cleaning, flags, guard, parsers, repair, splitting
from mental_slm.tasks import DATASET_TASK


@pytest.mark.parametrize(
    ("text", "repaired", "repairs"),
    [
        ("a &amp;amp; b", "a & b", ["entities"]),
        ("cafe\u0301", "caf\u00e9", ["nfc"]),
        ("zero\u200bwidth \ufffd", "zerowidth", ["invisible", "whitespace"]),
        ("one\vtwo\x1fthree\x85four\x07", "one two three four", ["invisible"]),
        ("a\u00a0 b \n\n\n\n c ", "a b\n\nc", ["whitespace"]),
        ("see https://example.org/a?b=c now", "see <url> now", ["pii_url"]),
        ("at sample.example.me/u/jo7 and him.he/she", "at <url> and him.he/she", ["pii_url"]),
        ("write to jo.do+x@mail.example.org.", "write to <email>.", ["pii_email"]),
        ("thanks /u/some_name and @other", "thanks <user> and <user>", ["pii_user"]),
        ("call (812) 555-0142 or 1-800-555-0199", "call <phone> or <phone>", ["pii_phone"]),
        ("+44 20 7946 0958", "<phone>", ["pii_phone"]),
        ("in r/anxiety since 2015-2016, 100,000 times", None, []),
        ("<url> stays \u201cquoted\u201d", None, []),
    ],
)
def test_repairs(text, repaired, repairs):
    assert repair.repair_text(text) == (text if repaired is None else repaired, repairs)


def test_the_key_forgets_typography_and_nothing_else():
    assert repair.normalise_key("Don\u2019t &amp; STOP!") == repair.normalise_key("dont stop")
    assert repair.normalise_key("stop it") != repair.normalise_key("stop me")
    assert repair.normalise_key("\u0995\u09bf \u0996") != repair.normalise_key("\u0996\u09ac\u09b0")


def dreaddit(write_raw, *texts):
    header = ["text", "label", "post_id", "sentence_range", "confidence"]
    rows = [header, *[[text, "1", "p", f"({n}, 5)", "1"] for n, text in enumerate(texts)]]
    return parsers.read_dreaddit(write_raw(rows, "dreaddit.csv"), "train", "salt")


def test_dreaddit_gets_its_text_back_from_its_twin(write_raw):
    posts = dreaddit(write_raw, "I dont know", "All well")
    twin = write_raw([["text", "label"], ["I don\u2019t know", "mild"], ["All well", "mild"]])
    restored = repair.restore_from_twin(posts, twin)
    assert restored["text"].tolist() == ["I don\u2019t know", "All well"]
    assert restored["repairs"].tolist() == [["encoding_from_depseverity"], []]


@pytest.mark.parametrize(
    ("twin_rows", "message"),
    [
        (
            [["All well", "mild"], ["I don\u2019t know", "mild"]],
            r"row 0 is not the post that Dreaddit has there \(dreaddit.csv, row 0\)",
        ),
        ([["I dont know", "mild"]], "1 rows, but Dreaddit has 2"),
    ],
)
def test_a_twin_with_other_posts_is_refused(write_raw, twin_rows, message):
    posts = dreaddit(write_raw, "I dont know", "All well")
    with pytest.raises(SourceFileError, match=message) as error:
        repair.restore_from_twin(posts, write_raw([["text", "label"], *twin_rows], "twin.csv"))
    assert "know" not in str(error.value)  # no text in errors


def test_depseverity_is_split_within_labels_in_file_order():
    labels = ["mild"] * 9 + ["severe"] * 5
    posts = pd.DataFrame({"label": labels, "source_row": range(len(labels))})
    split = splitting.split_depseverity(posts)
    assert split.tolist() == ["train"] * 7 + ["test"] * 2 + ["train"] * 4 + ["test"]


def test_isear_is_split_by_content_not_by_order():
    posts = pd.DataFrame(
        {
            "label": ["joy", "fear"] * 20,
            "key": [f"text{n}" for n in range(40)],
            "source_row": range(40),
        }
    )
    split = splitting.split_isear(posts)
    assert split[posts["label"] == "joy"].value_counts().to_dict() == {"train": 18, "test": 2}
    shuffled = posts.sample(frac=1, random_state=1).assign(source_row=range(40))
    again = splitting.split_isear(shuffled)
    assert again.sort_index().tolist() == split.tolist()


def posts_of(*rows):
    """Build judged-ready posts from (dataset, text, label, split)."""
    table = pd.DataFrame(rows, columns=["dataset", "text", "label", "split"])
    key = table["text"].map(repair.normalise_key)
    return table.assign(
        record_id=[f"r{row}" for row in range(len(table))],
        task=table["dataset"].map(DATASET_TASK),
        text_id=key.map(repair.text_id),
        n_words=table["text"].str.split().str.len(),
    )


def reasons(*rows):
    found = cleaning.find_reasons(posts_of(*rows), min_words=2)
    return [None if pd.isna(reason) else reason for reason in found]


def test_every_reason_and_the_first_one_wins():
    assert reasons(
        ("Dreaddit", "#NAME?", "yes", "train"),
        ("Dreaddit", "#NAME?", "no", "train"),  # also a conflict and a duplicate
        ("ISEAR", "[ No response.]", "joy", "train"),
        ("ISEAR", "Exam", "joy", "train"),  # one word is an answer in ISEAR
        ("SDCNL", "deleted", "suicidal", "train"),
        ("DR", "so very low", "yes", "train"),
        ("DR", "So very low!", "no", "test"),
        ("Dreaddit", "kept once only", "yes", "train"),
        ("Dreaddit", "kept once only", "yes", "test"),
        ("Dreaddit", "kept once only", "yes", "test"),
        ("DepSeverity", "kept once only", "mild", "train"),
    ) == [
        "excel_error",
        "excel_error",
        "no_response",
        None,
        "too_short",
        "label_conflict",
        "label_conflict",
        "duplicate",
        None,
        "duplicate",
        "leaks_into_eval",
    ]


def test_a_word_that_means_no_answer_elsewhere_is_a_text_like_any_other():
    assert reasons(
        ("SDCNL", "Nothing", "suicidal", "test"), ("ISEAR", "Nothing", "joy", "test")
    ) == [
        "too_short",
        "no_response",
    ]


def test_val_gives_way_to_test_and_train_to_both():
    assert reasons(
        ("DR", "one two three", "yes", "val"),
        ("SDCNL", "one two three", "suicidal", "test"),
        ("Dreaddit", "four five six", "yes", "train"),
        ("DR", "four five six", "yes", "val"),
    ) == ["leaks_into_eval", None, "leaks_into_eval", None]


LONG = "one two three four five six seven eight nine ten"


def test_leaks_are_found_exact_and_near_across_datasets():
    posts = posts_of(
        ("Dreaddit", "the very same words here", "yes", "train"),
        ("DepSeverity", "The very same words, here.", "mild", "test"),
        ("SDCNL", LONG, "suicidal", "train"),
        ("DR", LONG + " eleven", "yes", "val"),  # 10 of 11 words
        ("SDCNL", LONG.replace("one", "uno").replace("two", "dos"), "suicidal", "test"),
    )
    leaks = guard.find_leaks(posts, 0.9)
    assert leaks[["kind", "from_id", "into_id"]].to_numpy().tolist() == [
        ["exact", "r0", "r1"],
        ["near", "r2", "r3"],
    ]
    assert leaks["similarity"].tolist() == [1.0, 0.909]
    hits = [cell for cell in guard.count_leaks(posts, leaks) if cell["exact"] or cell["near"]]
    assert hits == [
        {"from": "SDCNL train", "into": "DR val", "held_out": 1, "exact": 0, "near": 1},
        {
            "from": "Dreaddit train",
            "into": "DepSeverity test",
            "held_out": 1,
            "exact": 1,
            "near": 0,
        },
    ]
    with pytest.raises(guard.LeakageError, match=r"2 pairs[\s\S]*r0[\s\S]*r3") as error:
        guard.refuse_leaks(leaks)
    assert "seven" not in str(error.value)


def test_val_must_not_repeat_test_but_may_repeat_val():
    posts = posts_of(
        ("DR", LONG, "yes", "val"), ("SDCNL", LONG, "suicidal", "val"), ("DR", LONG, "yes", "test")
    )
    leaks = guard.find_leaks(posts, 0.9)
    assert leaks[["from_part", "into_part"]].to_numpy().tolist() == [
        ["DR val", "DR test"],
        ["SDCNL val", "DR test"],
    ]


def test_the_prefix_filter_finds_what_comparing_all_pairs_finds():
    import random

    rng = random.Random(7)
    texts = [
        " ".join(f"w{rng.randrange(60)}" for _ in range(rng.randrange(5, 30))) for _ in range(60)
    ]
    texts += [f"{text} extra{n}" for n, text in enumerate(texts[:30])]
    posts = posts_of(
        *[("DR", text, "yes", "train" if n < 60 else "test") for n, text in enumerate(texts)]
    )
    words = [set(text.split()) for text in texts]
    expected = {
        (f"r{a}", f"r{b}")
        for a in range(60)
        for b in range(60, 90)
        if min(len(words[a]), len(words[b])) >= 5
        and len(words[a] & words[b]) / len(words[a] | words[b]) >= 0.9
    }
    found = guard.find_leaks(posts, 0.9)
    assert len(expected) > 5
    assert set(zip(found["from_id"], found["into_id"], strict=True)) == expected


@pytest.mark.parametrize(
    ("dataset", "text", "expected"),
    [
        ("ISEAR", "I cannot remember such a situation", ["non_answer_broad"]),
        ("Dreaddit", "I cannot remember such a situation", []),
        ("DR", "stop " * 30, ["non_english"]),
        ("DR", "I am so tired of it all " * 100, ["very_long"]),
    ],
)
def test_flags(dataset, text, expected):
    assert flags.flag_text(text, dataset) == expected
