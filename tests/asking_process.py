"""A process that asks a loopback server, so that tests can kill, interrupt and starve it.

``python asking_process.py <journal> <url> <number of prompts> [--batches] [...]`` prints its summary
as JSON; its log goes to stderr.
"""

import argparse
import json
import logging
import resource
import sys
from pathlib import Path

from mental_slm.openai_client import BatchOptions, EndpointOptions, ask, ask_in_batches


def make_request(number: int, words: int = 3) -> dict:
    """A made-up request; its id is as opaque as a hash."""
    text = f"prompt {number} " + "word " * words
    return {
        "custom_id": f"id-{number:05d}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": text.strip()},
            ],
            "max_tokens": 100,
            "temperature": 0.5,
            "seed": 1,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("url")
    parser.add_argument("number", type=int)
    parser.add_argument("--batches", action="store_true")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--grace", type=float, default=5.0)
    parser.add_argument("--largest-file", type=int, help="bytes; stands for a full disk")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    if options.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.largest_file, options.largest_file))
    endpoint = EndpointOptions(
        base_url=options.url,
        concurrency=options.concurrency,
        backoff_s=0.01,
        grace_s=options.grace,
    )
    requests = [make_request(number) for number in range(options.number)]
    if options.batches:
        batch = BatchOptions(requests_per_file=10, poll_s=0.05, max_poll_s=0.1)
        summary = ask_in_batches(requests, options.journal, endpoint, batch)
    else:
        summary = ask(requests, options.journal, endpoint)
    sys.stdout.write(json.dumps(summary.to_json()) + "\n")


if __name__ == "__main__":
    main()
