"""How fast the augmentation asks, against the ideal of the server it asks.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py client --requests 5000 --concurrency 64 --latency 0.2

``client``: requests to a loopback server that answers each one after a fixed latency, in a process
of its own. The ideal rate is concurrency divided by latency; the target is 70 % of it. Memory is the
largest resident size of the asking process, taken after the first fifth of the requests and at the
end: what grows in between grows with the number of requests.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.openai_client import EndpointOptions, ask

PROJECT = Path(__file__).resolve().parents[1]
SERVER = PROJECT / "tests" / "openai_server.py"

TARGET_RATE = 0.70
TARGET_GROWTH_MIB = 20.0
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part or all; the exit status says whether all targets are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {"client": measure_client}
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
