"""How long ingestion takes, and how the search for near copies grows.

    MENTAL_SLM_MIRROR=/path/to/mirror python benchmarks/ingestion.py

First the whole public corpus, from files to the report, in a process of its own. Where the mirror
lacks SDCNL's files, made-up ones in the same format and of the same number of rows stand in (the
output says so). Then the guard alone on made-up posts: 10,000, 100,000 and 1,000,000 of them, each
in a process of its own so that peak memory can be told apart. The exponent is the slope of log time
over log posts: 1 is linear, 2 is what comparing all pairs would take.

Options: `--posts 10000 100000` for other sizes; `--only guard` or `--only corpus`.
"""

import argparse
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.io import DataCatalog

PROJECT = Path(__file__).parents[1]
SIZES = (10_000, 100_000, 1_000_000)

#: Targets of the project: seconds and bytes for the corpus, bytes for the guard at a million posts.
CORPUS_SECONDS, CORPUS_BYTES, GUARD_BYTES = 15, 1e9, 6e9


def main() -> None:
    """Run the parts asked for, each in a fresh process, and print one table."""
    arguments = _arguments()
    if arguments.child:
        result = (
            measure_corpus() if arguments.child == "corpus" else measure_guard(arguments.posts[0])
        )
        print(json.dumps(result))
        return
    if arguments.only in (None, "corpus"):
        report_corpus(_in_child("corpus"))
    if arguments.only in (None, "guard"):
        report_guard([_in_child("guard", "--posts", str(size)) for size in arguments.posts])


def measure_corpus() -> dict[str, float]:
    """Ingest the public files into a scratch folder; return seconds, bytes and rows."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        catalog, made_up = ingest_public(Path(folder))
        seconds = time.perf_counter() - started
        rows = catalog.load("ingestion_counts")["rows"]["all"]
    return {
        **_peak(),
        "seconds": seconds,
        "in": rows["in"],
        "kept": rows["kept"],
        "made_up": made_up,
    }


def ingest_public(folder: Path) -> tuple["DataCatalog", str]:
    """Run the ingestion pipeline on the public files, with outputs below ``folder``.

    Returns:
        The catalog with the results, and the names of the files that had to be made up.
    """
    from kedro.io import DataCatalog
    from kedro.runner import SequentialRunner

    from mental_slm.pipelines.ingestion import create_pipeline
    from mental_slm.pipelines.ingestion.options import IngestionOptions

    entries, made_up = _public_catalog(folder)
    catalog = DataCatalog.from_config(entries)
    catalog["params:ingestion"] = IngestionOptions(studemo_texts=False)
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog, made_up


def measure_guard(posts: int) -> dict[str, float]:
    """Search made-up posts for leaks; return seconds, bytes and what was found of what was planted."""
    from mental_slm.pipelines.ingestion import guard

    table, planted = make_posts(posts)
    before = _peak()["bytes"]
    started = time.perf_counter()
    leaks = guard.find_leaks(table, near_duplicate=0.9)
    seconds = time.perf_counter() - started
    found = len(set(leaks["into_id"]) & planted)
    return {
        **_peak(),
        "seconds": seconds,
        "posts": posts,
        "before": before,
        "planted": len(planted),
        "found": found,
    }


def make_posts(count: int) -> tuple["object", set[str]]:
    """Make up posts of 20 to 200 words whose frequencies follow Zipf's law, as those of English do.

    One post in a thousand is repeated in test with one word of it changed.

    Returns:
        Posts as the guard takes them, and the ids of the planted near copies.
    """
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(7)
    vocabulary = np.array([_word(number) for number in range(50_000)])
    lengths = generator.integers(20, 200, count)
    texts = []
    for length in lengths:
        rank = np.exp(generator.random(length) * math.log(len(vocabulary))).astype(int)
        texts.append(" ".join(vocabulary[rank - 1]))
    splits = np.where(generator.random(count) < 0.8, "train", "test").astype(object)
    planted = set()
    for source in range(0, count - 1, 1000):
        splits[source], splits[source + 1] = "train", "test"
        texts[source + 1] = f"{texts[source]} changed"
        planted.add(f"r{source + 1}")
    ids = pd.Series([f"r{number}" for number in range(count)], dtype="str")
    table = pd.DataFrame(
        {
            "record_id": ids,
            "text_id": ids.str.replace("r", "t"),
            "dataset": "DR",
            "split": pd.Series(splits, dtype="str"),
            "text": pd.Series(texts, dtype="str"),
        }
    )
    return table, planted


def report_corpus(result: dict[str, float]) -> None:
    """Print the measurement of the whole corpus beside its target."""
    print(f"whole corpus, {int(result['in']):,} rows in, {int(result['kept']):,} kept")
    print(f"  files made up because the mirror has none: {result['made_up'] or 'none'}")
    print(f"  {result['seconds']:.1f} s (at most {CORPUS_SECONDS}), ", end="")
    print(f"{result['bytes'] / 1e9:.2f} GB peak (at most {CORPUS_BYTES / 1e9:.0f})\n")


def report_guard(results: list[dict[str, float]]) -> None:
    """Print time, memory and growth of the guard."""
    print(
        "guard on made-up posts  seconds  microseconds a post  peak GB  (posts alone)  near copies"
    )
    for result in results:
        print(
            f"{int(result['posts']):>22,}  {result['seconds']:7.2f}  "
            f"{result['seconds'] / result['posts'] * 1e6:19.1f}  {result['bytes'] / 1e9:7.2f}  "
            f"{result['before'] / 1e9:13.2f}  {int(result['found'])} of {int(result['planted'])}"
        )
    for first, second in itertools.pairwise(results):
        exponent = math.log(second["seconds"] / first["seconds"]) / math.log(
            second["posts"] / first["posts"]
        )
        print(
            f"  exponent from {int(first['posts']):,} to {int(second['posts']):,}: {exponent:.2f}"
        )
    print(f"  target at 1,000,000 posts: at most {GUARD_BYTES / 1e9:.0f} GB")


def _public_catalog(folder: Path) -> tuple[dict[str, dict], str]:
    """Return the catalog of the public edition with outputs below ``folder``."""
    import hashlib
    import shutil

    from kedro.config import OmegaConfigLoader

    from mental_slm.datasets.remote_file import RawFile, Source

    base = folder / "conf" / "base"
    base.mkdir(parents=True)
    shutil.copy(PROJECT / "conf/base/catalog_ingestion.yml", base)
    (base / "globals.yml").write_text("data: public\n")
    loader = OmegaConfigLoader(str(folder / "conf"), base_env="base", default_run_env="base")
    entries = {name: entry for name, entry in loader["catalog"].items() if name[0] != "_"}
    made_up = []
    for name, entry in entries.items():
        raw = name.endswith("_file")
        entry["filepath"] = str((PROJECT if raw else folder) / entry["filepath"])
        if name.startswith("sdcnl_"):
            source = Source.model_validate(entry["source"])
            if RawFile(Path(entry["filepath"]), source).local_copy() is None:
                content = make_sdcnl(source.rows or 0, seed=len(made_up))
                entry["filepath"] = str(folder / f"{name}.csv")
                Path(entry["filepath"]).write_bytes(content)
                entry["source"] |= {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "bytes": len(content),
                }
                made_up.append(name)
    return entries, ", ".join(made_up)


def make_sdcnl(rows: int, seed: int) -> bytes:
    """Make up an SDCNL file of so many rows, with posts as long as the real ones (172 words)."""
    import csv
    import io
    import random

    words = random.Random(seed)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["", "title", "selftext", "author", "num_comments", "is_suicide", "url"])
    for row in range(rows):
        text = " ".join(_word(words.randrange(20_000)) for _ in range(words.randrange(20, 324)))
        writer.writerow([row, f"Title {seed} {row}", text, f"a{row}", 0, row % 2, f"u{row}"])
    return buffer.getvalue().encode()


def _word(number: int) -> str:
    """Return a made-up word of letters, another one for every number."""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return letters


def _in_child(part: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", part, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", **os.environ}


def _peak() -> dict[str, float]:
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["corpus", "guard"])
    parser.add_argument("--posts", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--child", choices=["corpus", "guard"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
