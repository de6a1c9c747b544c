"""What must hold for any text and any posts: key, repair, split, cleaning, forgetting."""

import html
import re
import unicodedata

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mental_slm.pipelines.ingestion import cleaning, nodes, parsers, repair, splitting
from mental_slm.pipelines.ingestion.options import IngestionOptions
from mental_slm.tasks import DATASET_TASK, SPLITS, TASKS

TEXTS = settings(max_examples=300, deadline=None, derandomize=True)
TABLES = settings(max_examples=60, deadline=None, derandomize=True)

#: Pieces that one repair leaves for another, alone and side by side.
PIECES = st.sampled_from(
    [
        "&", "&amp;", "&amp;amp;amp;", "amp;", "&#38;", "#38;", "&lt;", "&#x200B;", "&nbsp;",
        "&am\u200bp;", "&#13;", "&eacute;", ";", "\r", "\n", "\r\n", " \n ", "\n\n\n", "\t", "\v",
        "\f", "\x1c", "\x85", "\u2028", "\u00a0", "\u200b", "\u200d", "\u200e", "\u061c", "\ufeff",
        "\ufffd", "\x92", "\x00", "\x07", "e", "\u0301", "\u0323", "\u1100", "\u1161", "\ufb2a",
        "https://", "www.", "example.org", "?a=b", "@", "@name", "u/name", "/u/", "r/", "jo.do",
        "+1-", "555-0142", "(812) ", "1234567", "+44 20 7946 0958", "<url>", "<user>", "<", ">",
        ".", "-", "/", "(", "word", " ", "don\u2019t", "😔", "👩\u200d👧", "שלום", "سلام", "\u202b",
    ]
)  # fmt: skip
ANY_TEXT = st.one_of(st.text(), st.lists(PIECES | st.text(max_size=2), max_size=12).map("".join))

#: Written signs only, and none that compatibility turns into a part of an entity.
SIGNS = st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")).filter(
    lambda sign: sign in "&#;" or not set("&#;") & set(unicodedata.normalize("NFKC", sign))
)
WRITTEN = st.text(SIGNS | st.sampled_from("aB9'\"-&;שאل।ক"), max_size=30)
STRAIGHT = "'\"-"


# --- the key -------------------------------------------------------------------------------------


@TEXTS
@given(WRITTEN, st.sampled_from(["\u2018\u201c\u2013", "\u2019\u201d\u2014"]))
def test_the_key_does_not_see_typography(text, curly):
    fancy = text.translate(str.maketrans(STRAIGHT, curly))
    assert repair.normalise_key(fancy) == repair.normalise_key(text)


@TEXTS
@given(WRITTEN)
def test_the_key_does_not_see_case(text):
    swapped = re.sub("[A-Za-z]", lambda letter: letter[0].swapcase(), text)
    if html.unescape(text) == text:  # the case of an entity has a meaning
        assert repair.normalise_key(swapped) == repair.normalise_key(text)


@TEXTS
@given(WRITTEN, st.integers(1, 4))
def test_the_key_does_not_see_entities(text, times):
    escaped = text
    for _ in range(times):
        escaped = html.escape(escaped)
    assert repair.normalise_key(escaped) == repair.normalise_key(text)
    # ftfy leaves the entity of a semicolon alone, since it could end another one
    numbered = "".join(sign if sign == ";" else f"&#{ord(sign)};" for sign in text)
    assert repair.normalise_key(numbered) == repair.normalise_key(text)


@TEXTS
@given(WRITTEN, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_key_does_not_see_the_unicode_form(text, form):
    assert repair.normalise_key(unicodedata.normalize(form, text)) == repair.normalise_key(text)


@TEXTS
@given(WRITTEN, st.sampled_from([" ", "\n", "  ", "\u00a0"]))
def test_the_key_does_not_see_white_space(text, blank):
    spread = blank + re.sub(r"(?<=[^&#;\w])(?=\w)", blank, text) + blank
    if "&" not in text:
        assert repair.normalise_key(spread) == repair.normalise_key(text)


@TEXTS
@given(WRITTEN, WRITTEN)
@example("Don\u2019t", "dont")
@example("stop it", "stop me")
def test_a_text_id_stands_for_one_key(one, other):
    keys = [repair.normalise_key(text) for text in (one, other)]
    ids = [repair.text_id(key) for key in keys]
    assert (ids[0] == ids[1]) == (keys[0] == keys[1])
    assert all(re.fullmatch("[0-9a-f]{16}", text_id) for text_id in ids)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("لا أستطيع النوم منذ 2020", "أنا بخير منذ 2020"),  # no more than a year in common
        ("אני לא ישן ok", "הכול בסדר ok"),
        ("আমি ঘুমাই", "আমি ঘুমাও"),  # vowel signs make the word
        ("眠れない日が続く", "今日は元気です"),
        ("😭 😭 😭", "👍 👍"),
        ("?!", "..."),
    ],
)
def test_texts_of_other_scripts_keep_what_tells_them_apart(one, other):
    assert repair.normalise_key(one) != repair.normalise_key(other)


def test_a_foreign_word_in_an_english_text_does_not_change_its_key():
    assert repair.normalise_key("I said שלום to them") == "isaidtothem"
    assert repair.normalise_key("a café, naïve") == repair.normalise_key(
        "a cafe\u0301, nai\u0308ve"
    )


# --- the repair ----------------------------------------------------------------------------------


@settings(TEXTS, max_examples=600)
@given(ANY_TEXT)
@example("&amp;amp;amp;amp;lt;")
@example("&am\u200bp;")
@example("e\u200b\u0301")
@example("@one@two")
@example("u/one/u/two")
@example("a@b.org-c@d.org")
@example("\r\n\r \n\r")
def test_a_repaired_text_needs_no_repair(text):
    repaired, _ = repair.repair_text(text)
    assert repair.repair_text(repaired) == (repaired, [])


@TEXTS
@given(ANY_TEXT)
def test_a_repaired_text_is_clean(text):
    repaired, done = repair.repair_text(text)
    assert not re.search(
        "[\u0080-\u009f\u200b\u200e\u202b\u061c\ufeff\ufffd\r\v\f\x00\x07]", repaired
    )
    assert repaired == repaired.strip() and "\n\n\n" not in repaired and "  " not in repaired
    assert unicodedata.is_normalized("NFC", repaired)
    assert html.unescape(repaired) == repaired or "&" in repaired  # without ";" it is no entity
    assert len(done) == len(set(done)) and (text == repaired) == (not done)


@TEXTS
@given(st.lists(PIECES, max_size=6).map("".join), st.lists(PIECES, max_size=6).map("".join))
def test_personal_data_is_masked_whatever_stands_around_it(before, after):
    private = "sample.person@example.org and https://example.org/post/77x and +1 987-555-0142"
    repaired, _ = repair.repair_text(f"{before} {private} {after}")
    assert "sample" not in repaired and "77x" not in repaired and "987" not in repaired


@TEXTS
@given(st.text(st.sampled_from("abc אבג ابت क็ต일本é😔👩\u200d\u200c"), max_size=40))
def test_letters_of_all_scripts_survive(text):
    composed = unicodedata.normalize("NFC", text)
    assert repair.repair_text(text)[0].split() == composed.split()


@TEXTS
@given(st.text(st.characters(codec="ascii", categories=("L", "P", "Zs")), max_size=40))
def test_the_key_is_that_of_the_upstream_text(text):
    """Nothing but masks changes the key, so a text and its damaged twin stay the same text."""
    repaired, done = repair.repair_text(text)
    if not any(name.startswith("pii") for name in done):
        assert repair.normalise_key(repaired) == repair.normalise_key(text)


# --- the split -----------------------------------------------------------------------------------

SPLIT_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([f"key{n}" for n in range(12)])),
    min_size=1,
    max_size=60,
).map(lambda rows: pd.DataFrame(rows, columns=["label", "key"]).assign(source_row=range(len(rows))))
RULES = pytest.mark.parametrize(
    ("rule", "per_thousand"), [(splitting.split_depseverity, 800), (splitting.split_isear, 900)]
)


@RULES
def test_the_split_is_stable_and_has_its_sizes(rule, per_thousand):
    @TABLES
    @given(SPLIT_ROWS, st.randoms(use_true_random=False))
    def holds(posts, rng):
        split = rule(posts)
        order = list(posts.index)
        rng.shuffle(order)
        pd.testing.assert_series_equal(rule(posts.loc[order]).sort_index(), split)
        for label, rows in posts.groupby("label"):
            train = (split[rows.index] == "train").sum()
            assert train == len(rows) * per_thousand // 1000, label

    holds()


@TABLES
@given(SPLIT_ROWS, st.randoms(use_true_random=False))
def test_isear_does_not_care_in_which_rows_of_the_file_the_answers_stand(posts, rng):
    rows = list(range(len(posts)))
    rng.shuffle(rows)
    moved = posts.assign(source_row=rows)
    one, other = (
        table.assign(split=splitting.split_isear(table)).value_counts(["label", "key", "split"])
        for table in (posts, moved)
    )
    assert one.to_dict() == other.to_dict()


# --- cleaning and forgetting ---------------------------------------------------------------------

POOL = [
    "", "#NAME?", "[ No response.]", "None", "Help", "so low", "So low!", "all is well", "all well",
    "الحمد لله", "😭 😭", "none of it matters", "&amp; so on",
]  # fmt: skip


@st.composite
def tables_of_posts(draw):
    """Draw parsed posts: any dataset, label and split, texts that often repeat."""
    rows = []
    for _ in range(draw(st.integers(1, 30))):
        dataset = draw(st.sampled_from(list(DATASET_TASK)))
        label = draw(st.sampled_from(TASKS[DATASET_TASK[dataset]].labels))
        rows.append((dataset, draw(st.sampled_from(POOL)), label, draw(st.sampled_from(SPLITS))))
    table = pd.DataFrame(rows, columns=["dataset", "text", "label", "split"])
    text = table["text"].map(lambda raw: repair.repair_text(raw)[0])
    return table.assign(
        text=text,
        record_id=[parsers.record_id(row[0], "file.csv", n) for n, row in enumerate(rows)],
        text_id=text.map(repair.normalise_key).map(repair.text_id),
        source_path="file.csv",
        source_row=range(len(rows)),
        n_words=text.map(lambda post: len(post.split())),
    )


@TABLES
@given(tables_of_posts())
def test_cleaning_loses_no_row(posts):
    judged, quarantine = nodes.clean_posts(posts, IngestionOptions())
    reason = judged["reason"]
    assert judged["record_id"].tolist() == posts["record_id"].tolist()
    assert set(reason.dropna()) <= set(cleaning.REASONS)
    dropped = reason.isin(cleaning.DROP_REASONS).sum()
    assert reason.isna().sum() + len(quarantine) + dropped == len(posts)
    assert not {"text", "label"} & set(quarantine.columns)
    assert not set(quarantine.to_numpy().ravel()) & (set(POOL) - {""})


@TABLES
@given(tables_of_posts())
def test_after_cleaning_no_split_repeats_another(posts):
    kept = posts[cleaning.find_reasons(posts, min_words=2).isna()]
    ids = {split: set(kept.loc[kept["split"] == split, "text_id"]) for split in SPLITS}
    assert not ids["train"] & (ids["val"] | ids["test"]) and not ids["val"] & ids["test"]
    assert not kept.duplicated(["dataset", "text_id"]).any()
    assert (kept.groupby(["dataset", "text_id"])["label"].nunique() == 1).all()
    assert (kept["text"].str.strip() != "").all()


@TABLES
@given(tables_of_posts(), st.randoms(use_true_random=False))
def test_cleaning_keeps_the_same_posts_in_any_order(posts, rng):
    order = list(posts.index)
    rng.shuffle(order)
    columns = ["dataset", "text_id", "label", "split"]
    one, other = (
        table[cleaning.find_reasons(table, min_words=2).isna()].value_counts(columns).to_dict()
        for table in (posts, posts.loc[order])
    )
    assert one == other


@TABLES
@given(tables_of_posts(), st.data())
def test_forgetting_takes_all_copies_and_moves_nobody(posts, data):
    row = data.draw(st.sampled_from(posts.index.tolist()))
    name = posts.loc[row, data.draw(st.sampled_from(["record_id", "text_id"]))]
    left, forgotten = nodes.forget_posts(posts, IngestionOptions(forget=name))
    copies = posts["text_id"] == posts.loc[row, "text_id"]
    pd.testing.assert_frame_equal(left, posts[~copies].reset_index(drop=True))
    assert forgotten["text_ids"] == [posts.loc[row, "text_id"]]
    assert sum(forgotten["posts"].values()) == copies.sum()
