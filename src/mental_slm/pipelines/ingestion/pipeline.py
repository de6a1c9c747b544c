"""The ingestion pipeline: public files to one clean, split, leak-free corpus."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from . import nodes

_OPTIONS = "params:ingestion"

#: Each labelled dataset: the node that parses it and the catalog entries of its raw files. The order
#: is that of the corpus.
_PARSERS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "dr": (nodes.parse_dr, ["dr_train_file", "dr_val_file", "dr_test_file"]),
    "dreaddit": (nodes.parse_dreaddit, ["dreaddit_train_file", "dreaddit_test_file"]),
    "depseverity": (nodes.parse_depseverity, ["depseverity_file"]),
    "sdcnl": (nodes.parse_sdcnl, ["sdcnl_train_file", "sdcnl_test_file"]),
    "isear": (nodes.parse_isear, ["isear_file"]),
}

_STUDEMO_FILES = ["studemo_ratings_file", "studemo_texts_file"]

#: The catalog entries of all raw files.
_FILES = [*(entry for _, entries in _PARSERS.values() for entry in entries), *_STUDEMO_FILES]


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: parse each dataset, unify, repair, split, forget, clean, guard, report."""
    return Pipeline(
        [
            *(
                Node(
                    parse,
                    [*files, _OPTIONS],
                    f"{dataset}_posts",
                    name=f"parse_{dataset}",
                    tags="network",
                )
                for dataset, (parse, files) in _PARSERS.items()
            ),
            Node(
                nodes.parse_studemo,
                [*_STUDEMO_FILES, _OPTIONS],
                ["studemo_annotation", "studemo_profile"],
                name="parse_studemo",
                tags="network",
            ),
            Node(
                nodes.unify_posts,
                [f"{dataset}_posts" for dataset in _PARSERS],
                "unified_posts",
                name="unify_posts",
            ),
            Node(
                nodes.repair_posts,
                ["unified_posts", "depseverity_file"],
                "repaired_posts",
                name="repair_posts",
                tags="network",  # reads DepSeverity even where only Dreaddit is selected
            ),
            Node(nodes.split_posts, "repaired_posts", "split_posts", name="split_posts"),
            Node(
                nodes.forget_posts,
                ["split_posts", _OPTIONS],
                ["posts", "forgotten"],
                name="forget_posts",
            ),
            Node(
                nodes.clean_posts,
                ["posts", _OPTIONS],
                ["judged_posts", "quarantine"],
                name="clean_posts",
            ),
            Node(
                nodes.guard_corpus,
                ["judged_posts", _OPTIONS],
                ["corpus", "leakage_report"],
                name="guard_corpus",
            ),
            Node(
                nodes.count_ingestion,
                {
                    "judged": "judged_posts",
                    "quarantine": "quarantine",
                    "corpus": "corpus",
                    "forgotten": "forgotten",
                    "leakage": "leakage_report",
                    "annotation": "studemo_annotation",
                    "profile": "studemo_profile",
                    "options": _OPTIONS,
                    **{entry: entry for entry in _FILES},
                },
                "ingestion_counts",
                name="count_ingestion",
            ),
            Node(
                nodes.report_ingestion,
                "ingestion_counts",
                "ingestion_report",
                name="report_ingestion",
            ),
            Node(
                nodes.draw_ingestion,
                "ingestion_counts",
                [
                    "corpus_figure",
                    "length_figure",
                    "removal_figure",
                    "leakage_figure",
                    "personal_data_figure",
                ],
                name="draw_ingestion",
            ),
            Node(nodes.write_cards, "ingestion_counts", "dataset_cards", name="write_cards"),
        ]
    )
