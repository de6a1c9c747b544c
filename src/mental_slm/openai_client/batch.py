"""Asking through the Batch API: files of requests handed in, their answers fetched hours later.

Every step is noted beside the journal before and after it is taken. A process that dies goes on
with the same batches; one that died between handing a file in and noting its number finds it again
by the key in its name and metadata, so that nothing is handed in twice.
"""

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydantic import SecretStr

from .connection import EndpointError, connect_for_batches, explain, quiet, retry_after
from .journal import Journal
from .money import Purse
from .options import BatchOptions, EndpointOptions, Price
from .progress import Progress
from .protocol import CHAT_URL, Entry, Request, completion, failure_code, parse_entry, passes
from .state import BatchState, Part
from .summary import Summary, log_end
from .wanted import Wanted, open_account

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

logger = logging.getLogger(__name__)

#: The metadata key under which a batch carries the key of its part.
METADATA_KEY = "mental_slm_part"

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

#: How much a server's clock may differ from ours when its lists are searched.
CLOCK_SECONDS = 24 * 3600.0


def ask_in_batches(
    requests: Iterable[Request],
    journal_path: Path,
    endpoint: EndpointOptions,
    batch: BatchOptions,
    *,
    api_key: SecretStr | None = None,
    prices: Mapping[str, Price] | None = None,
    budget_usd: float | None = None,
) -> Summary:
    """Ask for all answers that the journal does not hold yet, through the Batch API.

    Returns when every batch has ended and what came back is in the journal; until then its state
    lies in ``<journal>.batches.json``, and a run that was killed or interrupted goes on with the
    same batches. What an expired, failed or cancelled batch left open goes into another one.

    Args:
        requests: In the Batch format; all are kept in memory.
        journal_path: A JSONL file; made if missing.
        endpoint: The server.
        batch: Sizes of files, pace of polling.
        api_key: Needed for api.openai.com.
        prices: By model name, for cost and budget.
        budget_usd: No batch is handed in that could make the journal's total cost pass it.

    Returns:
        What was done, and in ``stopped_by`` what ended it early.

    Raises:
        EndpointError: No server or no access; the batches go on.
        JournalError: The journal cannot be written; what it holds is safe.
        ValueError: A malformed request or journal line, or a budget without a price.
    """
    client = connect_for_batches(endpoint, api_key)
    summary = Summary()
    purse = Purse(prices or {}, budget_usd)
    requests = list(requests)
    with quiet(), client, Journal.opened(journal_path) as journal:
        open_account(journal, purse, summary)
        wanted = Wanted(requests, journal, summary)
        pending = {request["custom_id"]: request for request in wanted.pending()}
        with Progress(summary, summary.asked) as progress:
            batches = _Batches(client, endpoint, batch, journal, purse, summary, pending, progress)
            batches.run()
        wanted.count_rest()
    summary.seconds = time.monotonic() - summary.started
    log_end(summary, journal_path, budget_usd)
    return summary


class _Batches:
    """One run: requests into parts, parts through the API, answers into the journal."""

    def __init__(
        self,
        client: "OpenAI",
        endpoint: EndpointOptions,
        options: BatchOptions,
        journal: Journal,
        purse: Purse,
        summary: Summary,
        pending: dict[str, Request],
        progress: Progress,
    ):
        self._client, self._endpoint, self._options = client, endpoint, options
        self._journal, self._purse, self._summary = journal, purse, summary
        self._pending, self._progress = pending, progress
        self._state = BatchState.load(journal.path, endpoint.url)
        self._failures: dict[str, Entry | None] = {}

    def run(self) -> None:
        """Submit, wait and take until nothing is open that may still be answered."""
        from openai import APIError

        try:
            self._resume()
            short_of_money = self._plan()
            while self._awaited():
                self._submit()
                self._wait_and_take()
                short_of_money = self._plan()
            if short_of_money:
                self._summary.stopped_by = "budget"
        except KeyboardInterrupt:
            self._summary.stopped_by = "interrupt"
            logger.warning(
                "%d batches go on at %s; the next run collects them",
                len(self._state.parts),
                self._endpoint.url,
            )
        except APIError as error:
            raise EndpointError(
                f"{explain(error, self._endpoint)}. {len(self._state.parts)} batches are noted in "
                f"{BatchState.path_for(self._journal.path)}; run again to go on with them"
            ) from None
        self._summary.failed = Counter(
            "missing" if entry is None else failure_code(entry) for entry in self._failures.values()
        )

    # -- from requests to parts --------------------------------------------------------------------

    def _resume(self) -> None:
        """Take up what an earlier process left."""
        for part in list(self._state.parts):
            self._purse.commit(part.reserved_usd)
            if part.batch_id is None:
                self._adopt(part)
        if self._state.parts:
            logger.info("Going on with %d batches of an earlier run", len(self._state.parts))

    def _adopt(self, part: Part) -> None:
        """Find what an earlier process handed in without noting it; drop a part nobody wants."""
        found = self._find_batch(part)
        if found is not None:
            self._note_batch(part, found)
            return
        part.file_id = part.file_id or self._find_file(part)
        still_wanted = [name for name in part.custom_ids if name in self._pending]
        if part.file_id and still_wanted != part.custom_ids:
            self._client.files.delete(part.file_id)
            part.file_id = None
        part.custom_ids = still_wanted
        self._state.save(self._journal.path)
        if not part.custom_ids:
            self._close(part)

    def _plan(self) -> bool:
        """Make parts of all requests that are neither answered, under way nor given up.

        Returns:
            Whether requests had to stay out because of the budget.
        """
        under_way = self._state.open_ids()
        by_model: dict[str, list[Request]] = defaultdict(list)
        for custom_id, request in self._pending.items():
            if custom_id not in under_way and self._may_ask(custom_id):
                by_model[request["body"]["model"]].append(request)
        complete = all([self._make_parts(model, some) for model, some in by_model.items()])
        self._state.save(self._journal.path)
        return not complete

    def _may_ask(self, custom_id: str) -> bool:
        if custom_id in self._journal.answered:
            return False
        failure = self._failures.get(custom_id)
        if failure is not None and not passes(failure):
            return False
        return self._state.submissions.get(custom_id, 0) <= self._options.resubmissions

    def _make_parts(self, model: str, requests: list[Request]) -> bool:
        """Cut requests at the limits of a file; False if the budget ended before they did."""
        part, size = Part(model=model, custom_ids=[]), 0
        for request in requests:
            custom_id, length = request["custom_id"], len(_as_line(request))
            if length > self._options.bytes_per_file:
                raise ValueError(f"request {custom_id}: is larger than a whole file may be")
            worst = self._purse.worst_case(request, batch=True)
            if not self._purse.allows(part.reserved_usd + worst):
                self._add(part)
                return False
            full = len(part.custom_ids) >= self._options.requests_per_file
            if full or size + length > self._options.bytes_per_file:
                self._add(part)
                part, size = Part(model=model, custom_ids=[]), 0
            part.custom_ids.append(custom_id)
            part.reserved_usd += worst
            size += length
        self._add(part)
        return True

    def _add(self, part: Part) -> None:
        if not part.custom_ids:
            return
        self._purse.commit(part.reserved_usd)
        self._state.parts.append(part)
        for custom_id in part.custom_ids:
            times = self._state.submissions.get(custom_id, 0)
            self._state.submissions[custom_id] = times + 1
            if times:
                failure = self._failures.get(custom_id)
                self._summary.retried["missing" if failure is None else failure_code(failure)] += 1

    # -- from parts to batches ---------------------------------------------------------------------

    def _submit(self) -> None:
        """Upload and start every part that is not under way yet, noting each step."""
        for part in self._state.parts:
            if part.batch_id is not None:
                continue
            if part.file_id is None:
                part.file_id = self._upload(part)
                self._state.save(self._journal.path)
            self._note_batch(part, self._create(part))

    def _upload(self, part: Part) -> str:
        path = self._journal.path.with_name(f".{_file_name(part)}")
        try:
            with path.open("wb") as file:
                for custom_id in part.custom_ids:
                    file.write(_as_line(self._pending[custom_id]))
            with path.open("rb") as file:
                uploaded = self._client.files.create(file=(_file_name(part), file), purpose="batch")
        finally:
            path.unlink(missing_ok=True)
        return uploaded.id

    def _create(self, part: Part) -> "Batch":
        """Start a batch; where no answer comes back, look whether it was started all the same."""
        from openai import APIConnectionError, InternalServerError, RateLimitError

        assert part.file_id is not None
        client = self._client.with_options(max_retries=0)
        for attempt in range(self._endpoint.max_retries + 1):
            try:
                return client.batches.create(
                    input_file_id=part.file_id,
                    endpoint=CHAT_URL,
                    completion_window="24h",
                    metadata={METADATA_KEY: part.key},
                )
            except (APIConnectionError, InternalServerError, RateLimitError) as error:
                if attempt == self._endpoint.max_retries:
                    raise
                asked = (
                    retry_after(error.response.headers)
                    if isinstance(error, RateLimitError)
                    else None
                )
                wait_s = self._endpoint.backoff_s * 2**attempt if asked is None else asked
                time.sleep(min(wait_s, self._endpoint.max_wait_s))
                found = self._find_batch(part)
                if found is not None:
                    return found
        raise AssertionError("the last attempt returns or raises")

    def _note_batch(self, part: Part, batch: "Batch") -> None:
        part.batch_id = batch.id
        self._state.save(self._journal.path)
        logger.info("Batch %s: %d requests to %s", batch.id, len(part.custom_ids), part.model)

    def _find_batch(self, part: Part) -> "Batch | None":
        for batch in self._client.batches.list(limit=100):
            if batch.created_at < part.made_at - CLOCK_SECONDS:
                return None
            if (batch.metadata or {}).get(METADATA_KEY) == part.key:
                return batch
        return None

    def _find_file(self, part: Part) -> str | None:
        for file in self._client.files.list(purpose="batch", order="desc", limit=100):
            if file.created_at < part.made_at - CLOCK_SECONDS:
                return None
            if file.filename == _file_name(part):
                return file.id
        return None

    # -- from batches to answers -------------------------------------------------------------------

    def _awaited(self) -> bool:
        """Tell whether a part is open that holds a wanted request; others are not waited for."""
        return any(
            custom_id in self._pending and custom_id not in self._journal.answered
            for custom_id in self._state.open_ids()
        )

    def _wait_and_take(self) -> None:
        """Look at all batches, ever more seldom, and take each one's answers when it has ended."""
        wait_s = self._options.poll_s
        while True:
            done, total = 0, 0
            for part in list(self._state.parts):
                assert part.batch_id is not None
                batch = self._client.batches.retrieve(part.batch_id)
                total += len(part.custom_ids)
                done += batch.request_counts.completed if batch.request_counts else 0
                if batch.status in ENDED:
                    self._take(part, batch)
                    wait_s = self._options.poll_s
            if not self._awaited():
                return
            logger.info(
                "%d of %d requests in batches done, next look in %.0f s", done, total, wait_s
            )
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.5, self._options.max_poll_s)

    def _take(self, part: Part, batch: "Batch") -> None:
        """Put all that a batch brought into the journal and close its part."""
        if batch.status != "completed":
            self._log_bad_end(batch)
        expected, seen = set(part.custom_ids), set[str]()
        for file_id in (batch.output_file_id, batch.error_file_id):
            for entry in self._download(file_id) if file_id else ():
                custom_id = entry["custom_id"]
                if custom_id not in expected:
                    self._summary.foreign += 1
                elif custom_id in seen:
                    self._summary.duplicates += 1
                else:
                    self._take_entry(entry, part)
                    if completion(entry) is not None:
                        seen.add(custom_id)
                self._progress.step()
        for custom_id in expected - self._journal.answered:
            if custom_id in self._pending:
                self._failures.setdefault(custom_id, None)
        self._journal.sync()
        self._close(part)

    def _take_entry(self, entry: Entry, part: Part) -> None:
        custom_id = entry["custom_id"]
        if custom_id in self._journal.answered:
            return  # by a process that died while it took this batch
        self._journal.append(entry)
        cost = self._purse.pay(entry)
        if completion(entry) is None:
            self._failures[custom_id] = entry
        elif custom_id in self._pending:
            self._failures.pop(custom_id, None)
            known = self._summary.cost_usd
            self._summary.cost_usd = None if cost is None or known is None else known + cost
            self._summary.note(entry, part.model)

    def _download(self, file_id: str) -> Iterator[Entry]:
        """Fetch a file whole, then yield its lines; a broken one is left out and asked again."""
        from tempfile import TemporaryFile

        with TemporaryFile(dir=self._journal.path.parent) as file:
            self._fetch(file_id, file)
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield parse_entry(line, f"file {file_id}, line {number}")
                except ValueError as error:
                    logger.warning("%s", error)

    def _fetch(self, file_id: str, file: BinaryIO) -> None:
        import httpx2
        from tenacity import (
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        def fetch() -> None:
            file.seek(0)
            file.truncate()
            with self._client.files.with_streaming_response.content(file_id) as reply:
                for block in reply.iter_bytes(2**20):
                    file.write(block)

        # the package tries again before the first byte of an answer, not after it
        Retrying(
            retry=retry_if_exception_type(httpx2.HTTPError),
            stop=stop_after_attempt(self._endpoint.max_retries + 1),
            wait=wait_random_exponential(self._endpoint.backoff_s, self._endpoint.max_wait_s),
            reraise=True,
        )(fetch)

    def _close(self, part: Part) -> None:
        self._purse.release(part.reserved_usd)
        self._state.close(part, self._journal.path)

    @staticmethod
    def _log_bad_end(batch: "Batch") -> None:
        codes = sorted({str(error.code) for error in (batch.errors and batch.errors.data) or []})
        logger.warning(
            "Batch %s %s%s; what it left open goes into another one%s",
            batch.id,
            batch.status,
            f" ({', '.join(codes)})" if codes else "",
            ". Lower requests_per_file: the account may not queue so many tokens"
            if "token_limit_exceeded" in codes
            else "",
        )


def _file_name(part: Part) -> str:
    return f"mental-slm-{part.key}.jsonl"


def _as_line(request: Request) -> bytes:
    line = {
        "custom_id": request["custom_id"],
        "method": "POST",
        "url": CHAT_URL,
        "body": request["body"],
    }
    return json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n"
