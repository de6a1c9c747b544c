"""What a run says about itself: the counts, the report, the figures and the dataset cards."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ingesting import PROJECT, ingest
from kedro.io import DatasetError

from mental_slm.pipelines.ingestion import (
    cards,
    cleaning,
    counting,
    create_pipeline,
    figures,
    nodes,
    report,
    tables,
)
from mental_slm.pipelines.ingestion.options import DATASETS, IngestionOptions
from mental_slm.tasks import DATASET_TASK, SPLITS

FIGURES = (
    "corpus_figure", "length_figure", "removal_figure", "leakage_figure", "personal_data_figure",
)  # fmt: skip
FULL = create_pipeline()


def reporting(folder: Path) -> dict[str, str]:
    """Return the texts of all files in the reporting layer by their names."""
    root = folder / "data" / "08_reporting"
    return {path.name: path.read_text("utf-8") for path in root.rglob("[!.]*") if path.is_file()}


def read_table(markdown: str, first_cell: str) -> dict[str, list[str]]:
    """Return the lines of the first Markdown table whose header begins with a cell."""
    lines = markdown[markdown.index(f"| {first_cell} |") :].partition("\n\n")[0].splitlines()
    rows = [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in [rows[0], *rows[2:]]}


def values(trace_values: object) -> list[float]:
    """Return the numbers of a trace; plotly stores whole numbers as packed bytes."""
    return [0 if value is None else float(value) for value in np.asarray(trace_values).ravel()]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    return folder, ingest(folder, pipeline=FULL)


@pytest.fixture
def counts(sample):
    return copy.deepcopy(sample[1].load("ingestion_counts"))


# --- counts -----------------------------------------------------------------------------------------


def test_the_counts_agree_with_the_files_and_the_tables(sample, counts):
    _, catalog = sample
    posts, corpus = catalog.load("posts"), catalog.load("corpus")
    quarantine = catalog.load("quarantine")
    in_files = {
        name: sum(
            catalog.load(entry).source.rows for entry in catalog.filter(f"^{name.lower()}_.*file$")
        )
        for name in DATASET_TASK
    }
    assert {name: counts["rows"][name]["in"] for name in in_files} == in_files
    assert posts["dataset"].value_counts().to_dict() == in_files
    for name, row in counts["rows"].items():
        of = lambda table: table if name == "all" else table[table["dataset"] == name]  # noqa: B023, E731
        assert row["kept"] == len(of(corpus))
        assert {s: row[s] for s in SPLITS if row[s]} == of(corpus)["split"].value_counts().to_dict()
        in_quarantine = of(quarantine)["reason"].value_counts().to_dict()
        assert {r: row[r] for r in cleaning.QUARANTINE_REASONS if row[r]} == in_quarantine
        removed = sum(row[reason] for reason in cleaning.REASONS)
        assert row["in"] == row["forgotten"] + row["kept"] + removed
    labels = corpus.groupby(["dataset", "label", "split"]).size()
    for (dataset, label, split), n in labels.items():
        assert counts["labels"][dataset][label][split] == n
    assert sum(
        n for by_label in counts["labels"].values() for s in by_label.values() for n in s.values()
    ) == len(corpus)
    for name, found in counts["lengths"].items():
        words = (corpus if name == "all" else corpus[corpus["dataset"] == name])["n_words"]
        assert found["words"]["max"] == words.max()
        assert found["words"]["mean"] == pytest.approx(words.mean(), abs=0.05)
        assert words.min() <= found["words"]["p5"] <= words.median() <= found["words"]["p95"]
        assert sum(found["histogram"]["posts"]) == len(words)


def test_personal_data_is_counted_in_posts_that_were_kept_and_others(sample, counts):
    posts = sample[1].load("posts")
    masked = posts["text"].str.contains("<email>")
    found = counts["personal_data"]
    assert found["all"]["posts"] == len(posts)
    assert 0 < found["all"]["pii_email"] == masked.sum()
    kinds = [name for name in found["all"] if name.startswith("pii_")]
    assert set(kinds) == set(tables.PERSONAL_DATA_KINDS), "the sample shows every kind"
    assert max(found["all"][kind] for kind in kinds) <= found["all"]["any"]
    assert found["all"]["any"] <= sum(found["all"][kind] for kind in kinds)


def test_studemo_is_counted_by_rating_and_by_text(sample, counts):
    annotation = sample[1].load("studemo_annotation")
    ratings = counts["studemo"]
    assert ratings["in"] == ratings["ratings"] == len(annotation) and ratings["forgotten"] == 0
    assert ratings["texts"] == annotation["text_id"].nunique()
    for name, found in ratings["dimensions"].items():
        assert sum(found["values"].values()) == len(annotation)
        assert found["values"]["1"] == (annotation[name] == 1).sum()


@pytest.fixture
def inputs(sample):
    """Return the inputs of the node that counts, as the run of the sample had them."""
    _, catalog = sample
    judged, quarantine = nodes.clean_posts(catalog.load("posts"), IngestionOptions())
    counting_node = next(node for node in FULL.nodes if node.name == "count_ingestion")
    files = {name: catalog.load(name) for name in counting_node.inputs if name.endswith("_file")}
    return {
        "judged": judged,
        "quarantine": quarantine,
        "corpus": catalog.load("corpus"),
        "forgotten": catalog.load("forgotten"),
        "leakage": catalog.load("leakage_report"),
        "annotation": catalog.load("studemo_annotation"),
        "profile": catalog.load("studemo_profile"),
        "options": IngestionOptions(),
        **files,
    }


def test_a_run_that_lost_nothing_is_counted(inputs, counts):
    assert nodes.count_ingestion(**inputs) == counts


@pytest.mark.parametrize("loss", ["reading", "judging", "corpus", "quarantine", "misfiled"])
def test_lost_rows_stop_the_run(inputs, loss):
    judged, corpus, quarantine = inputs["judged"], inputs["corpus"], inputs["quarantine"]
    first = judged["record_id"] == corpus["record_id"].iloc[0]
    if loss == "reading":  # never parsed, so missing everywhere
        inputs |= {"judged": judged[~first], "corpus": corpus.iloc[1:]}
    elif loss == "judging":  # a reason that nobody counts
        inputs["judged"] = judged.assign(reason=judged["reason"].replace("duplicate", "unheard_of"))
    elif loss == "misfiled":  # the sum is right
        extra = corpus.iloc[:1].assign(reason="too_short", detail="")[quarantine.columns]
        inputs |= {"corpus": corpus.iloc[1:], "quarantine": pd.concat([quarantine, extra])}
    else:
        inputs[loss] = inputs[loss].iloc[1:]
    with pytest.raises(RuntimeError, match=r"ingestion: \w+: .* this is a defect"):
        nodes.count_ingestion(**inputs)


def test_lost_ratings_stop_the_run(inputs):
    inputs["annotation"] = inputs["annotation"].iloc[1:]
    with pytest.raises(RuntimeError, match=r"StudEmo: .* this is a defect"):
        nodes.count_ingestion(**inputs)


# --- privacy and reproducibility --------------------------------------------------------------------


def test_no_report_holds_a_text_an_id_or_a_place(tmp_path):
    catalog = ingest(tmp_path, pipeline=FULL, group_salt="pepper-and-salt")
    posts, profile = catalog.load("posts"), catalog.load("studemo_profile")
    private = {
        *posts["record_id"], *posts["text_id"], *posts["group_id"].dropna(), "pepper-and-salt",
        str(tmp_path), str(PROJECT),
    }  # fmt: skip
    for text in [*posts["text"], *profile["text"].dropna()]:
        private |= {line for line in text.splitlines() if len(line) > 15}
    written = reporting(tmp_path)
    assert len(written) == 13
    for name, content in written.items():
        plain = content + json.dumps(content)  # as it is, and with escapes
        assert not [secret for secret in private if secret in plain], name
        assert not re.search(r"20\d\d-\d\d-\d\d", content), f"{name} holds a date"
    assert "own" in read_table(written["ingestion_report.md"], "option")["group_salt"]


def test_what_was_forgotten_is_counted_and_not_named(sample, tmp_path):
    posts, ratings = sample[1].load("posts"), sample[1].load("studemo_annotation")
    dreaddit = posts[posts["dataset"] == "Dreaddit"]
    copies = dreaddit["text_id"].map(posts["text_id"].value_counts())
    gone = dreaddit[copies == 2].iloc[0]  # here and in DepSeverity
    rated = int(ratings["text_id"].iloc[0])
    catalog = ingest(tmp_path, pipeline=FULL, forget=(gone["record_id"], f"StudEmo-{rated}"))
    rows = catalog.load("ingestion_counts")["rows"]
    assert {name: row["forgotten"] for name, row in rows.items() if row["forgotten"]} == {
        "Dreaddit": 1, "DepSeverity": 1, "all": 2,
    }  # fmt: skip
    written = reporting(tmp_path)
    text = written["ingestion_report.md"]
    assert "`ingestion.forget` left out 2 posts" in text
    assert "--params ingestion.forget=<2 ids>" in text
    assert f"{(ratings['text_id'] == rated).sum()} rating" in text
    shown = read_table(text, "dataset")
    assert shown["dataset"][:2] == ["in", "forgotten"] and shown["Dreaddit"][1] == "1"
    for content in written.values():
        assert gone["record_id"] not in content and gone["text_id"] not in content
        assert f"StudEmo-{rated}" not in content


def test_nothing_was_forgotten_says_so_and_has_no_column(sample):
    text = sample[1].load("ingestion_report")
    assert "Nobody asked to be forgotten" in text
    assert read_table(text, "dataset")["dataset"] == ["in", *cleaning.REASONS, "kept", *SPLITS]


# --- the report -------------------------------------------------------------------------------------


def test_the_report_shows_the_numbers_of_the_run(sample, counts):
    text = sample[1].load("ingestion_report")
    shown = read_table(text, "dataset")
    for name, row in counts["rows"].items():
        assert shown[name] == [str(row[column]) for column in shown["dataset"]]
    for reason, cells in list(read_table(text, "reason").items())[1:]:
        assert cells[0] == str(counts["rows"]["all"][reason])
        assert cells[1]
    for source in counts["sources"]:
        assert source["file"] in text and source["sha256"][:12] in text
        assert source["licence"] in text
    assert "synthetic sample" in text


def test_every_reason_repair_and_flag_is_explained(counts):
    assert set(tables.REASON_MEANING) == set(cleaning.REASONS)
    for column, meaning in (("repairs", tables.REPAIR_MEANING), ("flags", tables.FLAG_MEANING)):
        named = {name for name in counts[column]["all"] if not name.startswith("pii_")}
        assert named and named <= set(meaning)


def test_an_unexplained_repair_is_shown_all_the_same(counts):
    counts["repairs"]["DR"]["new_repair"] = counts["repairs"]["all"]["new_repair"] = 7
    assert "| `new_repair` |  | 7 |" in report.write_report(counts)


def test_the_command_makes_the_same_corpus_again(counts):
    def told(**options):
        counts["options"] = counting.describe_options(IngestionOptions(**options))
        return report.command(counts).replace(" \\\n       ", "")

    assert told() == "kedro run --pipelines ingestion"
    assert told(datasets="ISEAR+DR", studemo_texts=False, min_words=3) == (
        "kedro run --pipelines ingestion --params "
        "ingestion.datasets=ISEAR+DR,ingestion.studemo_texts=false,ingestion.min_words=3"
    )
    assert told(group_salt="pepper").endswith("--params ingestion.group_salt=<your salt>")
    counts["edition"] = "public"
    assert told() == "kedro run --pipelines ingestion --params data=public"


CELLS = [
    {"from": "DR train", "into": "DR val", "held_out": 1430, "exact": 0, "near": 0},
    {"from": "ISEAR train", "into": "DR test", "held_out": 9, "exact": 1, "near": 2},
    {"from": "DR val", "into": "DR test", "held_out": 9, "exact": 3, "near": 0},
]


def test_leaks_are_laid_out_by_dataset_and_split():
    assert tables.leakage_table(CELLS).splitlines() == [
        "| stands in | DR val (n = 1,430) | DR test (n = 9) |",
        "| --- | ---: | ---: |",
        "| DR train | 0 |  |",
        "| DR val |  | 3 |",
        "| ISEAR train |  | 1 (+2) |",
    ]


def test_the_source_of_dreaddits_repairs_is_named_where_depseverity_is_not_selected(tmp_path):
    catalog = ingest(tmp_path, pipeline=FULL, datasets="Dreaddit", studemo_texts=False)
    text = catalog.load("ingestion_report")
    assert "DepSeverity's file was read for the intact texts" in text
    assert "Reddit_depression_dataset.csv" in text
    assert "StudEmo" not in text and "isear.csv" not in text


def test_a_dataset_of_which_nothing_was_kept_is_reported(tmp_path):
    catalog = ingest(tmp_path, pipeline=FULL, min_words=10_000)
    rows = catalog.load("ingestion_counts")["rows"]
    assert rows["SDCNL"]["kept"] == 0 < rows["SDCNL"]["too_short"]
    assert set(catalog.load("dataset_cards")) == set(DATASETS)
    assert read_table(catalog.load("ingestion_report"), "dataset")["SDCNL"][-4:] == ["0"] * 4


# --- figures ----------------------------------------------------------------------------------------


def test_the_figures_draw_the_counts(sample, counts):
    drawn = {name: sample[1].load(name) for name in FIGURES}
    rows = counts["rows"]["all"]
    bars, *shares = drawn["corpus_figure"].data
    assert sum(values(bars.x)) == rows["kept"]
    assert sum(sum(values(share.x)) for share in shares) == pytest.approx(len(bars.y))
    for line in drawn["length_figure"].data:
        assert sum(values(line.y)) == pytest.approx(1)
    *by_dataset, sums = drawn["removal_figure"].data
    assert np.sum([values(bar.x) for bar in by_dataset], axis=0).tolist() == values(sums.x)
    assert values(sums.x) == [rows[reason] for reason in cleaning.REASONS]
    before, after = drawn["leakage_figure"].data
    leaks = {
        w: sum(c["exact"] + c["near"] for c in counts["leakage"][w]) for w in ("before", "after")
    }
    assert sum(values(before.z)) == leaks["before"] > 0
    assert sum(values(after.z)) == leaks["after"] == 0
    *_, kinds = drawn["personal_data_figure"].data
    found = counts["personal_data"]["all"]
    assert values(kinds.x) == [found[kind] for kind in tables.PERSONAL_DATA_KINDS]


def test_the_titles_say_what_was_found(sample, counts):
    rows, personal = counts["rows"]["all"], counts["personal_data"]["all"]
    titles = {name: sample[1].load(name).layout.title.text for name in FIGURES}
    removed = sum(rows[reason] for reason in cleaning.REASONS)
    for name, number in (
        ("corpus_figure", rows["kept"]),
        ("length_figure", rows["kept"]),
        ("removal_figure", removed),
        ("leakage_figure", "0 after"),
        ("personal_data_figure", personal["any"]),
    ):
        assert str(number) in titles[name].split("<br>")[0], name
        assert "data edition sample" in titles[name]


def test_near_copies_and_impossible_pairs_are_told_apart_in_the_leakage_figure(counts):
    counts["leakage"] = {"near_duplicate": 0.9, "before": CELLS, "after": CELLS[:1]}
    before, after = figures.draw_leakage(counts).data
    assert [list(row) for row in before.text] == [["0", ""], ["", "3"], ["", "1 (+2)"]]
    assert [list(row) for row in after.z] == [[0]]


# --- dataset cards ----------------------------------------------------------------------------------

SECTIONS = ("What it is", "Known problems", "Personal data", "Use", "Licence and citation")


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_dataset_has_a_card_with_prose_and_numbers(sample, counts, dataset):
    card = sample[1].load("dataset_cards")[dataset]
    assert [section for section in SECTIONS if f"## {section}\n" not in card] == []
    assert "**Who labelled**" in card and "synthetic sample" in card
    assert "$" not in card
    assert re.search(r"\((19|20)\d\d\)", card), "the citation has a year"
    for source in counts["sources"]:
        assert (source["sha256"] in card) == (source["dataset"] == dataset)
    if dataset in DATASET_TASK:
        assert read_table(card, "dataset")  # the labels come first
        shown = card[card.index("| dataset | in |") :].splitlines()[2]
        assert f"| {counts['rows'][dataset]['in']} |" in shown
        for label in counts["labels"][dataset]:
            assert f"| {dataset} | {label} |" in card
    else:
        assert f"| ratings kept | {counts['studemo']['ratings']} |" in card


def test_cards_are_of_this_run_alone(tmp_path):
    folder = tmp_path / "data/08_reporting/sample/dataset_cards"
    folder.mkdir(parents=True)
    (folder / "DR.md").write_text("of an earlier run")
    catalog = ingest(tmp_path, pipeline=FULL, datasets="ISEAR")
    assert set(catalog.load("dataset_cards")) == {"ISEAR"}
    assert not (folder / "DR.md").exists()


def test_a_missing_card_says_what_to_do(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "CARDS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"DR\.md: DR has no card; .*docs/data\.md"):
        cards.write_card("DR", counts)


def test_an_unknown_part_of_a_card_is_named(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "CARDS", tmp_path)
    (tmp_path / "DR.md").write_text("$rows and $rowz")
    with pytest.raises(ValueError, match=r"DR\.md: no part is called \$rowz; .*\$rows"):
        cards.write_card("DR", counts)


def test_the_cards_of_public_files_do_not_speak_of_the_sample(counts):
    counts["edition"] = "public"
    for source in counts["sources"]:
        source |= {"repository": "owner/name", "commit": "a" * 40, "licence": "MIT"}
    card = cards.write_card("ISEAR", counts)
    assert "synthetic" not in card
    assert f"owner/name at commit `{'a' * 40}`" in card


def test_the_cards_are_shipped_with_the_package():
    import tomllib

    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    shipped = pyproject["tool"]["setuptools"]["package-data"]["mental_slm.pipelines.ingestion"]
    assert shipped == [f"{cards.CARDS.name}/*.md"]
    assert {path.stem for path in cards.CARDS.glob("*.md")} == set(DATASETS)


# --- previews ---------------------------------------------------------------------------------------


def test_every_report_has_a_preview_without_any_text(sample):
    _, catalog = sample
    texts = [text for text in catalog.load("posts")["text"] if len(text) > 15]
    for name in ("ingestion_report", "dataset_cards", "ingestion_counts", *FIGURES):
        preview = json.dumps(catalog[name].preview())
        assert len(preview) > 1000, name
        assert not any(text in preview for text in texts), name
    assert "<table>" in catalog["ingestion_report"].preview()
    assert "<h1>StudEmo" in catalog["dataset_cards"].preview()


def test_cards_that_are_not_made_yet_say_what_to_run(tmp_path):
    from ingesting import load_catalog

    catalog = load_catalog(tmp_path)
    with pytest.raises(DatasetError, match="kedro run --pipelines ingestion"):
        catalog.load("dataset_cards")
    assert "kedro run --pipelines ingestion" in catalog["dataset_cards"].preview()


# --- the documentation ------------------------------------------------------------------------------


def recipe() -> dict[str, str]:
    """Return the files that docs/data.md shows in "Add a dataset", by their titles."""
    text = (PROJECT / "docs" / "data.md").read_text("utf-8").split("## Add a dataset")[1]
    return dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', text, re.DOTALL))


def follow(recipe: dict[str, str], project: Path) -> None:
    """Do what the recipe says: add to files, to a table inside a file, or make a new file."""
    for title, lines in recipe.items():
        name, _, place = title.partition(": ")
        path = project / name
        if place:
            before, table, after = path.read_text("utf-8").partition(f"{place}: dict")
            assert table, f"{name} has no table {place}"
            path.write_text(before + table + after.replace("\n}", f"\n{lines}}}", 1), "utf-8")
        elif path.exists():
            path.write_text(f"{path.read_text('utf-8')}\n\n{lines}", "utf-8")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lines.encode("utf-8"))


@pytest.fixture
def project_copy(tmp_path):
    folder = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("conf", "src", "data/01_raw/sample"):
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, folder)
    return folder


def test_the_recipe_for_a_new_dataset_works(project_copy):
    steps = recipe()
    assert len(steps) == 7
    python = [lines for title, lines in steps.items() if ".py" in title]
    assert sum(bool(line.strip()) for text in python for line in text.splitlines()) == 10
    follow(steps, project_copy)
    run = [sys.executable, "-m", "kedro", "run", "--pipelines", "ingestion"]
    done = subprocess.run(
        [*run, "--params", "ingestion.datasets=Dreaddit+Unwind"],
        cwd=project_copy,
        env={**os.environ, "PYTHONPATH": str(project_copy / "src"), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    corpus = pd.read_parquet(project_copy / "data/03_primary/sample/corpus.parquet")
    new = corpus[corpus["dataset"] == "Unwind"]
    assert new["label"].value_counts().to_dict() == {"yes": 2, "no": 2}
    assert new["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    reports = project_copy / "data/08_reporting/sample"
    shown = read_table((reports / "ingestion_report.md").read_text("utf-8"), "dataset")
    assert shown["Unwind"][0] == "4" and set(shown) == {"dataset", "Dreaddit", "Unwind", "all"}
    card = (reports / "dataset_cards" / "Unwind.md").read_text("utf-8")
    assert card.startswith("# Unwind") and "| Unwind | yes |" in card


def test_the_recipe_has_the_shape_of_the_other_entries():
    entries = yaml.safe_load((PROJECT / "conf/base/catalog_ingestion.yml").read_text("utf-8"))
    new = yaml.safe_load(
        "_sample: &sample {licence: CC0-1.0}\n_raw: &raw {type: x}\n"
        + recipe()["conf/base/catalog_ingestion.yml"]
    )
    for edition in ("sample", "public"):
        own, other = (
            entry[edition]["source"] for entry in (new["_unwind_file"], entries["_isear_file"])
        )
        assert set(own) == set(other)


def test_the_documentation_names_what_there_is():
    text = (PROJECT / "docs" / "data.md").read_text("utf-8")
    readme = (Path(cards.__file__).parent / "README.md").read_text("utf-8")
    for name in ("ingestion_report", "dataset_cards", "ingestion_counts", *FIGURES):
        assert f"`{name}`" in text and f"`{name}`" in readme
    for option in IngestionOptions.model_fields:
        assert f"| `{option}` |" in readme
    for dataset in DATASETS:
        assert f"| {dataset} |" in text


# --- the public files -------------------------------------------------------------------------------


@pytest.mark.mirror
@pytest.mark.skipif("MENTAL_SLM_MIRROR" not in os.environ, reason="MENTAL_SLM_MIRROR is not set")
def test_the_readme_shows_the_table_of_the_public_files(tmp_path):
    chosen = ("DR", "Dreaddit", "DepSeverity", "ISEAR", "StudEmo")
    catalog = ingest(tmp_path, "public", FULL, datasets=chosen, studemo_texts=False)
    readme = (Path(cards.__file__).parent / "README.md").read_text("utf-8")
    table = readme[readme.index("| dataset | in |") :].partition("\n\n")[0].splitlines()
    text = catalog.load("ingestion_report")
    assert table and [line for line in table if line not in text] == []
    leaks = catalog.load("ingestion_counts")["leakage"]["after"]
    assert not any(cell["exact"] or cell["near"] for cell in leaks)
    posts = catalog.load("posts")["text"]
    written = reporting(tmp_path)
    assert len(written) == 12
    for name, content in written.items():
        assert not [post for post in posts if len(post) > 30 and post in content], name
