"""The synthetic sample: its bytes, its planted dirt, its labels, and that nobody real is in it."""

import csv
import html
import io
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mental_slm.sample.__main__ import main
from mental_slm.sample.composer import OPENING_CAP, Register, compose, opening
from mental_slm.sample.fabrication import fabricate, write_sample
from mental_slm.tasks import DATASET_TASK, EMOTION_DIMENSIONS, TASKS

COMMITTED = Path(__file__).parents[2] / "data/01_raw/sample"
SEED = 7
#: Placeholders that belong to the file formats; their words are upstream's on purpose.
PLACEHOLDERS = {"name", "noresponse", "none", "never", "emptypost"}
TRAIN, VALID, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Row:
    """One parsed row, by the rules for the public files."""

    dataset: str
    split: str
    raw: str
    text: str
    label: str


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return fabricate(SEED)


@pytest.fixture(scope="module")
def rows(files: dict[str, bytes]) -> list[Row]:
    return [*_dreaddit(files), *_depression_reddit(files), *_sdcnl(files), *_isear(files)]


def _table(content: bytes) -> list[dict[str, str]]:
    text = content.decode("utf-8", "replace")
    parsed = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert all(None not in row and None not in row.values() for row in parsed), "ragged row"
    return parsed


def _dreaddit(files: dict[str, bytes]) -> list[Row]:
    train = _table(files["dreaddit/dreaddit-train.csv"])
    test = _table(files["dreaddit/dreaddit-test.csv"])
    stress = [
        Row("Dreaddit", split, row["text"], row["text"], {"0": "no", "1": "yes"}[row["label"]])
        for split, part in ((TRAIN, train), (TEST, test))
        for row in part
    ]
    severity = _table(files["depseverity/Reddit_depression_dataset.csv"])
    sizes = Counter(row["label"] for row in severity)
    seen: Counter[str] = Counter()
    rows = []
    for row in severity:
        split = TRAIN if seen[row["label"]] < int(0.8 * sizes[row["label"]]) else TEST
        seen[row["label"]] += 1
        rows.append(Row("DepSeverity", split, row["text"], row["text"], row["label"]))
    return stress + rows


def _depression_reddit(files: dict[str, bytes]) -> list[Row]:
    def label(response: str) -> str:
        found = re.match(r"yes|no", response.strip().lower())
        assert found, response
        return found[0]

    rows = []
    for split, name in ((TRAIN, "train"), (VALID, "valid")):
        for row in _table(files[f"dr/reddit_{name}.csv"]):
            assert row["post"].startswith("Post: ")
            text = row["post"].removeprefix("Post: ")
            rows.append(Row("DR", split, row["post"], text, label(row["response"])))
    for row in _table(files["dr/DR.csv"]):
        query = row["query"]
        text = query[query.index("Post: ") + 6 : query.rindex("Question:")].strip()
        rows.append(Row("DR", TEST, query, text, label(row["gpt-3.5-turbo"])))
    return rows


def _sdcnl(files: dict[str, bytes]) -> list[Row]:
    return [
        Row(
            "SDCNL",
            split,
            row["selftext"],
            row["title"]
            if row["selftext"] == "emptypost"
            else f"{row['title']}\n\n{row['selftext']}",
            {"0": "depression", "1": "suicidal"}[row["is_suicide"]],
        )
        for split, name in ((TRAIN, "training"), (TEST, "testing"))
        for row in _table(files[f"sdcnl/{name}-set.csv"])
    ]


def _isear(files: dict[str, bytes]) -> list[Row]:
    rows = []
    for line in files["isear/isear.csv"].decode("utf-8").split("\n")[1:]:
        fields = line.split("|")
        raw = text = "|".join(fields[40:-2])
        if "\\" in text:
            text = text.replace('\\"', '"').replace("\\", '"').removesuffix('"')
        text = re.sub(" +", " ", re.sub("[á|]", " ", text)).strip()
        rows.append(Row("ISEAR", "", raw, text, fields[36]))
    return rows


def _key(text: str) -> str:
    text = html.unescape(html.unescape(text))
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKC", text).lower())


def _rows_of(rows: list[Row], dataset: str) -> list[Row]:
    return [row for row in rows if row.dataset == dataset]


# --- bytes -----------------------------------------------------------------------------------


def test_committed_files_equal_a_fresh_fabrication(files: dict[str, bytes]) -> None:
    committed = {
        path.relative_to(COMMITTED).as_posix(): path.read_bytes()
        for path in COMMITTED.rglob("*.csv")
    }
    assert sorted(committed) == sorted(files)
    different = [name for name in files if committed[name] != files[name]]
    assert not different, "run `python -m mental_slm.sample` and commit the result"


def test_command_writes_what_fabricate_returns(
    tmp_path: Path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path), "--seed", str(SEED)])
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert len(capsys.readouterr().out.splitlines()) == len(files)


def test_another_seed_gives_other_words_and_still_works(files: dict[str, bytes]) -> None:
    other = fabricate(SEED + 1)
    assert sorted(other) == sorted(files)
    assert all(other[name] != files[name] for name in files)


def test_written_files_replace_older_ones(tmp_path: Path) -> None:
    write_sample({"a/b.csv": b"old"}, tmp_path)
    write_sample({"a/b.csv": b"new"}, tmp_path)
    assert (tmp_path / "a/b.csv").read_bytes() == b"new"


# --- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line_end", "finished"),
    [
        ("dreaddit/dreaddit-train.csv", b"\r\n", False),
        ("dreaddit/dreaddit-test.csv", b"\r\n", False),
        ("depseverity/Reddit_depression_dataset.csv", b"\r\n", True),
        ("dr/reddit_train.csv", b"\n", True),
        ("dr/DR.csv", b"\n", True),
        ("sdcnl/training-set.csv", b"\n", True),
        ("isear/isear.csv", b"\n", False),
        ("studemo/annotation_data.csv", b"\r\n", True),
        ("studemo/text_data.csv", b"\r\n", True),
    ],
)
def test_line_ends_are_those_of_upstream(
    files: dict[str, bytes], name: str, line_end: bytes, finished: bool
) -> None:
    content = files[name]
    assert content.endswith(b"\n") == finished
    header, _, _ = content.partition(b"\n")
    assert header.endswith(b"\r") == (line_end == b"\r\n")
    if line_end == b"\n":
        assert b"\r" not in content


def test_dreaddit_has_116_columns_in_two_orders(files: dict[str, bytes]) -> None:
    train = _table(files["dreaddit/dreaddit-train.csv"])[0]
    test = _table(files["dreaddit/dreaddit-test.csv"])[0]
    assert len(train) == len(test) == 116
    assert set(train) == set(test)
    assert list(train)[:2] == ["subreddit", "post_id"]
    assert list(test)[:2] == ["id", "subreddit"]


def test_dreaddit_and_depseverity_hold_the_same_posts_in_order(rows: list[Row]) -> None:
    stress, severity = _rows_of(rows, "Dreaddit"), _rows_of(rows, "DepSeverity")
    assert [_key(row.text) for row in stress] == [_key(row.text) for row in severity]
    assert any(one.text != other.text for one, other in zip(stress, severity, strict=True))


def test_isear_lines_have_the_upstream_fields(files: dict[str, bytes]) -> None:
    header, *lines = files["isear/isear.csv"].decode("utf-8").split("\n")
    names = header.split("|")
    assert len(names) == 43
    assert [names[position] for position in (0, 36, 39, 40)] == ["ID", "Field1", "MYKEY", "SIT"]
    keys = [line.split("|")[39] for line in lines]
    assert len(set(keys)) == len(keys)
    assert Counter(len(line.split("|")) for line in lines) == {43: len(lines) - 3, 44: 3}


def test_sdcnl_index_is_unique_and_points_at_nobody(files: dict[str, bytes]) -> None:
    table = [row for n in ("training", "testing") for row in _table(files[f"sdcnl/{n}-set.csv"])]
    assert len({row[""] for row in table}) == len(table)
    assert all(re.fullmatch(r"user_\d{4}", row["author"]) for row in table)
    board = {"1": "SuicideWatch", "0": "depression"}
    assert all(
        row["url"].startswith(f"https://example.org/r/{board[row['is_suicide']]}/") for row in table
    )


def test_studemo_ratings_are_in_range_and_belong_to_texts(files: dict[str, bytes]) -> None:
    ratings = _table(files["studemo/annotation_data.csv"])
    texts = {row["text_id"] for row in _table(files["studemo/text_data.csv"])}
    assert list(ratings[0])[2:] == list(EMOTION_DIMENSIONS)
    for row in ratings:
        for dimension, (least, most) in EMOTION_DIMENSIONS.items():
            assert least <= float(row[dimension]) <= most
    per_text = Counter(row["text_id"] for row in ratings)
    assert set(per_text.values()) == {1, 2}
    assert set(per_text) < texts, "some texts stay without a rating, as upstream"
    assert len({(row["text_id"], row["annotator_id"]) for row in ratings}) == len(ratings)


# --- labels ----------------------------------------------------------------------------------


def test_every_label_occurs_in_every_split(rows: list[Row]) -> None:
    for dataset, task in DATASET_TASK.items():
        for split in sorted({row.split for row in _rows_of(rows, dataset)}):
            found = {row.label for row in _rows_of(rows, dataset) if row.split == split}
            assert found == set(TASKS[task].labels), (dataset, split)


def test_labels_are_balanced_as_intended(rows: list[Row]) -> None:
    counts = {name: Counter(row.label for row in _rows_of(rows, name)) for name in DATASET_TASK}
    assert len(set(counts["ISEAR"].values())) == 1
    assert counts["DepSeverity"].most_common(1)[0][0] == "minimum"
    assert min(counts["DepSeverity"].values()) >= 20
    assert abs(counts["SDCNL"]["suicidal"] - counts["SDCNL"]["depression"]) <= 4
    assert counts["DR"]["yes"] > counts["DR"]["no"]
    assert counts["Dreaddit"]["yes"] > counts["Dreaddit"]["no"]


def test_words_carry_the_label_but_not_trivially(rows: list[Row]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=2000))
    for dataset in DATASET_TASK:
        once = {_key(row.text): row for row in _rows_of(rows, dataset)}.values()
        texts, labels = [row.text for row in once], [row.label for row in once]
        accuracy = cross_val_score(model, texts, labels, cv=folds).mean()
        majority = max(Counter(labels).values()) / len(labels)
        assert majority + 0.15 < accuracy < 0.97, (dataset, accuracy, majority)


# --- variety ---------------------------------------------------------------------------------


def test_openings_are_not_worn_out(rows: list[Row]) -> None:
    for dataset in DATASET_TASK:
        once = {_key(row.text): row.text for row in _rows_of(rows, dataset)}.values()
        common, count = Counter(opening(text) for text in once).most_common(1)[0]
        assert count <= OPENING_CAP, (dataset, common)


def test_no_two_different_posts_are_near_duplicates(rows: list[Row]) -> None:
    once = {_key(row.text): frozenset(re.findall(r"\w+", row.text.lower())) for row in rows}
    words = [found for found in once.values() if len(found) >= 5]
    close = [
        sorted(one)
        for number, one in enumerate(words)
        for other in words[:number]
        if len(one & other) / len(one | other) >= 0.9
    ]
    assert not close


def test_register_turns_away_repeats_and_a_worn_opening() -> None:
    register = Register()
    assert register.admit("A", "one two three four five six")
    assert not register.admit("B", "six five four three two one")
    assert register.admit("A", "one two three four five seven eight nine ten")
    assert register.admit("A", "one two three four five red blue green gold grey")
    assert not register.admit("A", "one two three four five x y z q w e r t u")
    with pytest.raises(RuntimeError, match="A: the phrase banks"):
        compose(register, "A", lambda: "one two three four five six")


# --- dirt ------------------------------------------------------------------------------------

EVERYWHERE = ("Dreaddit", "DepSeverity", "DR", "SDCNL")
PATTERNS = [
    ("html entity", r"&amp;|&#39;|&gt;", EVERYWHERE),
    ("zero-width entity", r"&#x200B;", EVERYWHERE),
    ("backslash escape", r"\\[*-]", EVERYWHERE),
    ("literal newline", r"\\n", ("Dreaddit", "DepSeverity")),
    ("real no-break space", "\u00a0", ("DepSeverity", "SDCNL")),
    ("curly quote", "[\u2018\u2019\u201c\u201d]", ("DepSeverity", "DR", "SDCNL")),
    ("zero-width character", "\u200b", ("DepSeverity", "DR", "SDCNL")),
    ("direction mark", "\u200e", ("DR",)),
    ("emoji", "[\U0001f300-\U0001faff]", ("DepSeverity", "DR", "SDCNL")),
    ("double space", "  ", ("Dreaddit", "DepSeverity", "SDCNL")),
    ("outer space", r"^ .* $", ("Dreaddit", "DepSeverity", "SDCNL")),
    ("newline inside", "\n", ("SDCNL",)),
    ("empty post", "^emptypost$", ("SDCNL",)),
    ("spreadsheet error", "^#NAME\\?$", ("Dreaddit", "DepSeverity")),
    ("replaced byte", "\ufffd", ("Dreaddit",)),
    ("valid two-byte character", "é", ("Dreaddit", "DepSeverity")),
    ("lost apostrophe", r"\b(dont|cant|Im|its|Ive)\b", ("Dreaddit",)),
    ("user name", r"\bu/sample", ("Dreaddit", "DepSeverity", "DR")),
    ("group name", r"\br/sample", EVERYWHERE),
    ("link", "https://example.org/", EVERYWHERE),
    ("masked link", "<url>", ("Dreaddit", "DepSeverity")),
    ("e-mail", r"@example\.org", ("DR", "SDCNL")),
    ("telephone", r"\b555-01\d\d\b", ("Dreaddit", "DepSeverity", "DR")),
    ("handle", r"(?<!\w)@sample", ("Dreaddit", "DepSeverity", "DR")),
    ("line-break mark", "á", ("ISEAR",)),
    ("unescaped pipe", r"\|", ("ISEAR",)),
    ("escaped quote", r'\\".*"$', ("ISEAR",)),
    ("bare backslash", r"\\[A-Z]\w+\\", ("ISEAR",)),
    ("no response", r"^\[ No response\.\]$", ("ISEAR",)),
    ("other non-answer", r"^(None\.|\[ Never\.\])$", ("ISEAR",)),
    ("description in brackets", r"^\[ .{30,}\]$", ("ISEAR",)),
    ("broad non-answer", "(?i)can't remember|same as", ("ISEAR",)),
    ("other language", "Desde hace semanas", ("DR",)),
]


@pytest.mark.parametrize(
    ("pattern", "dataset"),
    [
        pytest.param(pattern, dataset, id=f"{name} in {dataset}")
        for name, pattern, datasets in PATTERNS
        for dataset in datasets
    ],
)
def test_dirt_is_planted(rows: list[Row], pattern: str, dataset: str) -> None:
    assert any(re.search(pattern, row.raw) for row in _rows_of(rows, dataset))


def test_dreaddit_holds_undecodable_bytes_and_no_curly_quote(files: dict[str, bytes]) -> None:
    for name, runs in (("train", 3), ("test", 0)):
        content = files[f"dreaddit/dreaddit-{name}.csv"]
        assert len(re.findall("\ufffd+", content.decode("utf-8", "replace"))) == runs
        assert "\u2019".encode() not in content


@pytest.mark.parametrize("dataset", DATASET_TASK)
def test_repeats_and_contradictions_are_planted(rows: list[Row], dataset: str) -> None:
    labels: dict[str, list[str]] = {}
    for row in _rows_of(rows, dataset):
        if _key(row.text) not in PLACEHOLDERS:
            labels.setdefault(_key(row.text), []).append(row.label)
    repeated = [found for found in labels.values() if len(found) > 1]
    assert any(len(set(found)) == 1 for found in repeated)
    contradictions = [found for found in repeated if len(set(found)) > 1]
    assert bool(contradictions) == (dataset != "DR"), "upstream, DR has no contradiction"


def test_leaks_between_datasets_and_splits_are_planted(rows: list[Row]) -> None:
    def keys(dataset: str, split: str) -> set[str]:
        return {_key(row.text) for row in _rows_of(rows, dataset) if row.split == split}

    assert len(keys("Dreaddit", TRAIN) & keys("DepSeverity", TEST)) >= 3
    assert len(keys("DepSeverity", TRAIN) & keys("Dreaddit", TEST)) >= 3
    assert keys("Dreaddit", TRAIN) & keys("Dreaddit", TEST)
    assert keys("DR", TRAIN) & keys("DR", VALID)


def test_some_posts_are_too_short_and_some_are_long(rows: list[Row]) -> None:
    for dataset, longest in (("DR", 500), ("SDCNL", 180)):
        words = [len(row.text.split()) for row in _rows_of(rows, dataset)]
        assert min(words) == 1
        assert max(words) >= longest


# --- nobody real -----------------------------------------------------------------------------


@pytest.mark.mirror
def test_no_text_of_the_sample_is_in_a_real_file(rows: list[Row], files: dict[str, bytes]) -> None:
    """Compare normalised keys: no text, and no sentence of some length, is in a public file."""
    mirror = os.environ.get("MENTAL_SLM_MIRROR")
    if not mirror:
        pytest.skip("MENTAL_SLM_MIRROR is not set")
    public = list(Path(mirror).rglob("*.csv"))
    assert public, f"{mirror}: no CSV file below it"
    reviews = [row["text"] for row in _table(files["studemo/text_data.csv"])]
    bodies = [row.raw for row in rows if row.dataset == "SDCNL"]
    texts = [*(row.text for row in rows), *reviews, *bodies]
    sentences = [part for text in texts for part in re.split(r"(?<=[.?!])\s+", text)]
    keys = {_key(part) for part in [*texts, *sentences] if len(part.split()) >= 4}
    keys = {key for key in keys if len(key) >= 12}
    for path in public:
        real = _key(path.read_bytes().decode("utf-8", "replace"))
        shared = [key for key in keys if key in real]
        assert not shared, f"{path.name}: {len(shared)} texts of the sample are in this file"
