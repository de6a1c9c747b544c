"""How much planted personal data is found, and how much else is taken for it.

    python benchmarks/privacy.py
    python benchmarks/privacy.py --corpus data/03_primary/public/corpus.parquet

Made-up sentences, 320 with a value of each class and 320 tempting ones without (``tests/planted.py``,
fixed seed). Recall counts a value only where every letter and digit of it is masked; precision
counts a finding only where more than half of it is planted. A second table does the same with values
that were written down after the patterns. With ``--corpus``, posts of a corpus are
scrubbed as well: counts by kind and the time, never a text.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from planted import PER_CLASS, Score, measure, measure_unseen

from mental_slm.privacy import find_personal_data, scrub


def print_scores(title: str, scores: dict[str, Score]) -> None:
    """Print recall and precision of every class."""
    print(f"{title}\n")
    print(f"| {'class':<14} | recall | precision | planted | masked | findings | right |")
    print(f"| {'-' * 14} | ------ | --------- | ------- | ------ | -------- | ----- |")
    for kind, score in scores.items():
        print(
            f"| {kind:<14} | {score.recall:>6.3f} | {score.precision:>9.3f} | {score.planted:>7}"
            f" | {score.masked:>6} | {score.findings:>8} | {score.right:>5} |"
        )
    print()


def print_corpus(path: Path) -> None:
    """Scrub every distinct post of a corpus; print findings by kind and the time it took."""
    import pandas as pd

    posts = pd.read_parquet(path, columns=["text_id", "text"]).drop_duplicates("text_id")["text"]
    scrub("Warm up: 555-010-0199, Laura")  # lists are read at the first call
    findings: Counter[str] = Counter()
    touched = 0
    started = time.perf_counter()
    for post in posts:
        _, counts = scrub(post)
        findings.update(counts)
        touched += bool(counts)
    seconds = time.perf_counter() - started
    print(f"{len(posts):,} posts in {seconds:.1f} s ({len(posts) / seconds:,.0f} a second)")
    print(f"{touched:,} posts with findings: {dict(findings.most_common())}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="a corpus.parquet to scrub as well")
    arguments = parser.parse_args()
    sentences = f"{PER_CLASS} sentences a class with a value"
    print_scores(f"{sentences}, as many without", measure(find_personal_data))
    print_scores(f"{sentences} nothing was fitted to", measure_unseen(find_personal_data))
    if arguments.corpus:
        print_corpus(arguments.corpus)
