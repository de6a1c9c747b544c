"""How fast the augmentation asks, against the ideal of the server it asks.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py client --requests 5000 --concurrency 64 --latency 0.2
    python benchmarks/augmentation.py join
    MENTAL_SLM_MIRROR=/path/to/mirror python benchmarks/augmentation.py template

``client``: requests to a loopback server that answers each one after a fixed latency, in a process
of its own. The ideal rate is concurrency divided by latency; the target is 70 % of it. Memory is the
largest resident size of the asking process, taken after the first fifth of the requests and at the
end: what grows in between grows with the number of requests.

``join``: 15,524 recorded responses in Batch format, shuffled over three files, read and joined to
their posts; at most 10 seconds.

``template``: the offline teacher on the whole public corpus (made-up files stand in for SDCNL's where
the mirror lacks them): mask, render, answer, join, filter, pair; at most 60 seconds.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mental_slm.fingerprints import digest
from mental_slm.openai_client import EndpointOptions, ask
from mental_slm.pipelines.augmentation.teachers import read_recordings
from mental_slm.prompts import Prompts
from mental_slm.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
SERVER = PROJECT / "tests" / "openai_server.py"

TARGET_RATE = 0.70
TARGET_GROWTH_MIB = 20.0
TARGET_JOIN_S = 10.0
TARGET_TEMPLATE_S = 60.0
RECORDED = 15_524
WORDS_PER_POST = 90


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_requests(number: int, memory: dict[int, float]) -> Iterator[dict[str, Any]]:
    """Yield made-up requests of the usual length, noting the peak memory on the way."""
    for n in range(number):
        memory[n] = peak_mib() if n == number // 5 else 0.0
        body = {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You support people with warmth and care."},
                {"role": "user", "content": f"Post {n}: " + "some made-up words " * WORDS_PER_POST},
            ],
            "max_tokens": 400,
        }
        yield {
            "custom_id": digest(body),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }


def measure_client(options: argparse.Namespace) -> bool:
    """Ask a slow server many times; print the rate and the memory, tell whether both are kept."""
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--latency", str(options.latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        endpoint = EndpointOptions(
            base_url=server.stdout.readline().strip(), concurrency=options.concurrency
        )
        memory: dict[int, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            wall, processor = time.perf_counter(), time.process_time()
            summary = ask(
                make_requests(options.requests, memory), Path(folder) / "responses.jsonl", endpoint
            )
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
    finally:
        server.terminate()
        server.wait()
    rate, ideal = summary.answered_now / wall, options.concurrency / options.latency
    growth = peak_mib() - memory[options.requests // 5]
    kept = rate >= TARGET_RATE * ideal and growth <= TARGET_GROWTH_MIB and not summary.missing
    print(
        f"client: {summary.answered_now} of {options.requests} answered in {wall:.1f} s, "
        f"{rate:.0f} a second; ideal {ideal:.0f}\n"
        f"  share of the ideal  {rate / ideal:6.1%}   target >= {TARGET_RATE:.0%}\n"
        f"  processor time      {processor:5.1f} s   {1e3 * processor / options.requests:.2f} ms a "
        f"request\n"
        f"  peak memory         {peak_mib():5.0f} MiB, {growth:+.1f} MiB over the last four fifths"
        f"   target <= {TARGET_GROWTH_MIB:+.0f}\n"
        f"  {'kept' if kept else 'missed'}"
    )
    return kept


def measure_join(_: argparse.Namespace) -> bool:
    """Import recorded responses and join them; tell whether it is quick enough."""
    from mental_slm.pipelines.augmentation import nodes
    from mental_slm.pipelines.augmentation.options import AugmentationOptions

    prompts = Prompts.read(PROJECT / "conf" / "base" / "prompts")
    posts = make_posts(RECORDED)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"out_{n}.jsonl" for n in range(3)]
        options = AugmentationOptions(teacher="recorded", recorded="+".join(map(str, files)))
        requests = nodes.render_requests(posts, prompts, options)
        lines = [json.dumps(_response(request["custom_id"])) for request in requests]
        random.Random(5).shuffle(lines)
        for n, file in enumerate(files):
            file.write_text("\n".join(lines[n::3]) + "\n")
        size = sum(file.stat().st_size for file in files)
        wall = time.perf_counter()
        answers = read_recordings(requests, options.recorded)
        joined, report = nodes.join_answers(posts, answers.responses, prompts, options)
        wall = time.perf_counter() - wall
    kept = wall <= TARGET_JOIN_S and report["posts_without_answer"] == 0
    print(
        f"join: {len(joined)} of {RECORDED} responses ({size / 1e6:.0f} MB) in {wall:.1f} s"
        f"   target <= {TARGET_JOIN_S:.0f}\n  {'kept' if kept else 'missed'}"
    )
    return kept


def measure_template(_: argparse.Namespace) -> bool:
    """Make pairs of the whole public corpus with the offline teacher."""
    from ingestion import ingest_public  # the benchmark beside this one

    from mental_slm.pipelines.augmentation import nodes
    from mental_slm.pipelines.augmentation.options import AugmentationOptions
    from mental_slm.pipelines.augmentation.teachers import ask_template

    prompts = Prompts.read(PROJECT / "conf" / "base" / "prompts")
    options = AugmentationOptions()
    with tempfile.TemporaryDirectory() as folder:
        catalog, made_up = ingest_public(Path(folder))
        corpus, profiles = catalog.load("corpus"), catalog.load("studemo_profile")
        wall = time.perf_counter()
        posts, _masked = nodes.mask_posts(nodes.set_validation_aside(corpus, options), options)
        requests = nodes.render_requests(posts, prompts, options)
        responses = ask_template(requests, posts, prompts, options).responses
        joined, _report = nodes.join_answers(posts, responses, prompts, options)
        accepted, rejected, _report = nodes.filter_answers(joined, prompts, Path(folder), options)
        pairs = nodes.make_pairs(posts, accepted, profiles, prompts, options)
        wall = time.perf_counter() - wall
    kept = wall <= TARGET_TEMPLATE_S
    print(
        f"template: {len(corpus)} posts to {sum(map(len, pairs))} pairs, {len(rejected)} answers put "
        f"aside, in {wall:.1f} s   target <= {TARGET_TEMPLATE_S:.0f}\n"
        f"  made up, since the mirror has none: {made_up or 'nothing'}; peak memory {peak_mib():.0f} "
        f"MiB\n  {'kept' if kept else 'missed'}"
    )
    return kept


def make_posts(number: int) -> "pd.DataFrame":
    """Make up posts of the five tasks, ready to be asked about."""
    import pandas as pd

    tasks = list(TASKS.values())
    rows = [
        {
            "record_id": f"r{n}",
            "text_id": digest(n),
            "task": tasks[n % len(tasks)].name,
            "label": tasks[n % len(tasks)].labels[0],
            "split": "train",
            "masked": f"Post {n}: " + "some made-up words " * WORDS_PER_POST,
        }
        for n in range(number)
    ]
    return pd.DataFrame(rows)


def _response(custom_id: str) -> dict[str, Any]:
    """A response as long as the recorded ones of the work this grew from: 215 words (median)."""
    message = {"role": "assistant", "content": "kind words " * 107, "refusal": None}
    body = {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 113, "completion_tokens": 283, "total_tokens": 396},
    }
    return {
        "id": f"batch_req_{custom_id}",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": "r", "body": body},
        "error": None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part or all; the exit status says whether all targets are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {"client": measure_client, "join": measure_join, "template": measure_template}
    parser.add_argument("part", nargs="?", choices=[*parts, "all"], default="all")
    parser.add_argument("--requests", type=int, default=5000, help="(client) default: 5000")
    parser.add_argument("--concurrency", type=int, default=64, help="(client) default: 64")
    parser.add_argument("--latency", type=float, default=0.2, help="(client) seconds, default: 0.2")
    options = parser.parse_args(arguments)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}\n"
    )
    chosen = parts if options.part == "all" else {options.part: parts[options.part]}
    return 0 if all([measure(options) for measure in chosen.values()]) else 1


if __name__ == "__main__":
    sys.exit(main())
