"""The ingestion pipeline: public files to one clean, split, leak-free corpus."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from . import nodes

_OPTIONS = "params:ingestion"


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: parse each dataset, unify, repair, split, clean, guard, report."""
    return Pipeline(
        [
            Node(
                nodes.parse_dr,
                ["dr_train_file", "dr_val_file", "dr_test_file", _OPTIONS],
                "dr_posts",
                name="parse_dr",
                tags="network",
            ),
            Node(
                nodes.parse_dreaddit,
                ["dreaddit_train_file", "dreaddit_test_file", _OPTIONS],
                "dreaddit_posts",
                name="parse_dreaddit",
                tags="network",
            ),
            Node(
                nodes.parse_depseverity,
                ["depseverity_file", _OPTIONS],
                "depseverity_posts",
                name="parse_depseverity",
                tags="network",
            ),
            Node(
                nodes.parse_sdcnl,
                ["sdcnl_train_file", "sdcnl_test_file", _OPTIONS],
                "sdcnl_posts",
                name="parse_sdcnl",
                tags="network",
            ),
            Node(
                nodes.parse_isear,
                ["isear_file", _OPTIONS],
                "isear_posts",
                name="parse_isear",
                tags="network",
            ),
            Node(
                nodes.parse_studemo,
                ["studemo_ratings_file", "studemo_texts_file", _OPTIONS],
                ["studemo_annotation", "studemo_profile"],
                name="parse_studemo",
                tags="network",
            ),
            Node(
                nodes.unify_posts,
                ["dr_posts", "dreaddit_posts", "depseverity_posts", "sdcnl_posts", "isear_posts"],
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
                nodes.clean_posts,
                ["split_posts", _OPTIONS],
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
                nodes.report_ingestion,
                ["judged_posts", "quarantine", "corpus"],
                ["ingestion_report", "corpus_figure"],
                name="report_ingestion",
            ),
        ]
    )
