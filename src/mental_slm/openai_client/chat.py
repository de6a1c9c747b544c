"""Asking one by one: many requests under way, each tried until it has an answer or a verdict.

The requests are drawn from an iterator by a fixed number of workers, so a long list needs no more
memory than a short one. Every reply is in the journal before its worker takes the next request.
"""

import asyncio
import json
import logging
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from .connection import (
    EndpointError,
    connect,
    error_code,
    explain,
    fault_name,
    never_arrived,
    quiet,
    retry_after,
)
from .journal import Journal, JournalError
from .money import Purse
from .options import EndpointOptions, Price
from .progress import Progress
from .protocol import (
    PASSING_STATUS,
    Entry,
    Request,
    completion,
    failure_code,
    is_completion,
    make_entry,
    passes,
)
from .summary import Summary, log_end
from .wanted import Wanted, open_account

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

#: Statuses with which every other request would end as well.
FATAL_STATUS = frozenset({401, 403, 404})

#: Words for 429 that no waiting helps against.
NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def ask(
    requests: Iterable[Request],
    journal_path: Path,
    endpoint: EndpointOptions,
    *,
    api_key: SecretStr | None = None,
    prices: Mapping[str, Price] | None = None,
    budget_usd: float | None = None,
) -> Summary:
    """Ask a server for all answers that the journal does not hold yet.

    Responses are appended to the journal as they arrive, errors included; read them with
    :func:`~mental_slm.openai_client.journal.read_answers`. Running it again asks for what is
    missing or failed. The first Ctrl-C takes no further request and waits a little for answers
    under way, the second one waits no more; both return normally.

    Args:
        requests: In the Batch format; drawn as needed, so a generator should be quick.
        journal_path: A JSONL file; made if missing.
        endpoint: The server.
        api_key: Needed for api.openai.com.
        prices: By model name, for cost and budget.
        budget_usd: Ends the run before the journal's total cost can pass it.

    Returns:
        What was done, and in ``stopped_by`` what ended it early.

    Raises:
        EndpointError: No server, no access, or nothing but failures.
        JournalError: The journal cannot be written; what it holds is safe.
        ValueError: A malformed request or journal line, or a budget without a price.
    """
    client = connect(endpoint, api_key)
    summary = Summary()
    purse = Purse(prices or {}, budget_usd)
    total = len(requests) if isinstance(requests, Sized) else None
    with quiet(), Journal.opened(journal_path) as journal, Progress(summary, total) as progress:
        open_account(journal, purse, summary)
        wanted = Wanted(requests, journal, summary)
        asking = _Asking(client, endpoint, journal, purse, summary, wanted.pending(), progress)
        try:
            _run_interruptibly(asking)
        except EndpointError as error:
            safe = summary.answered_before + summary.answered_now
            raise EndpointError(f"{error}. {safe} answers are in {journal_path}") from None
        finally:
            summary.lost_usd = purse.lost
            summary.seconds = time.monotonic() - summary.started
            journal.sync()
        wanted.count_rest()
    log_end(summary, journal_path, budget_usd)
    return summary


class _FaultError(Exception):
    """A try that failed in a way that may pass.

    Attributes:
        entry: What is recorded if no further try succeeds.
        wait_s: Seconds that the server asks to wait; None if it says nothing.
    """

    def __init__(self, entry: Entry, wait_s: float | None = None):
        super().__init__(entry["custom_id"])
        self.entry, self.wait_s = entry, wait_s


class _StoppedError(Exception):
    """The run ends before this try is made."""


class _Asking:
    """One run: workers that share an iterator of requests."""

    def __init__(
        self,
        client: "AsyncOpenAI",
        endpoint: EndpointOptions,
        journal: Journal,
        purse: Purse,
        summary: Summary,
        pending: Iterator[Request],
        progress: Progress,
    ):
        self._client, self._endpoint, self._journal = client, endpoint, journal
        self._purse, self._summary, self._progress = purse, summary, progress
        self._pending = pending
        self._error: Exception | None = None
        self._failed_in_a_row = 0
        self._held_until = 0.0
        self._started = threading.Event()
        self._stopping, self._giving_up = asyncio.Event(), asyncio.Event()
        self._welcome, self._settled, self._unsynced = (asyncio.Event() for _ in range(3))

    async def run(self) -> None:
        """Ask everything; returns when all is done or the run was stopped."""
        self._loop = asyncio.get_running_loop()
        self._started.set()
        async with self._client:
            workers = [
                asyncio.create_task(self._work(n)) for n in range(self._endpoint.concurrency)
            ]
            helpers = [
                asyncio.create_task(self._keep_on_disk()),
                asyncio.create_task(self._end(workers)),
            ]
            await asyncio.wait(workers)
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        if self._error is not None:
            raise self._error

    def interrupt(self, *, at_once: bool) -> None:
        """End the run; called from another thread."""
        self._started.wait()
        self._loop.call_soon_threadsafe(self._stop, "interrupt", at_once)

    # -- the life of a run -------------------------------------------------------------------------

    async def _work(self, number: int) -> None:
        """Answer requests until there are no more.

        The first request goes alone: a wrong key or model must not be tried by all at once.
        """
        try:
            if number > 0:
                await self._welcome.wait()
            while not self._stopping.is_set():
                request = next(self._pending, None)
                if request is None:
                    self._welcome.set()
                    return
                await self._answer(request)
        except _StoppedError:
            return
        except Exception as error:  # raised again at the end of the run, after the others are done
            self._error = self._error or error
            self._stop(None, at_once=isinstance(error, JournalError))

    def _stop(self, reason: Literal["budget", "interrupt"] | None, at_once: bool = False) -> None:
        """Take no further request; `at_once` does not wait for those under way either."""
        self._summary.stopped_by = self._summary.stopped_by or reason
        self._stopping.set()
        self._welcome.set()
        self._settled.set()
        if at_once:
            self._giving_up.set()

    async def _end(self, workers: list[asyncio.Task[None]]) -> None:
        """After a stop, give answers under way their grace and then leave them."""
        await self._stopping.wait()
        if self._summary.stopped_by == "interrupt":
            logger.warning("Stopping; waiting up to %g s for answers", self._endpoint.grace_s)
        await _wait(self._giving_up, self._endpoint.grace_s)
        for worker in workers:
            worker.cancel()

    async def _keep_on_disk(self) -> None:
        """Bring appended lines to the disk, one fsync after the other, beside the asking."""
        while True:
            await self._unsynced.wait()
            self._unsynced.clear()
            try:
                await asyncio.to_thread(self._journal.sync)
            except JournalError as error:
                self._error = self._error or error
                self._stop(None, at_once=True)
                return

    # -- one request -------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> None:
        """Try a request until it has an answer or a verdict, and record that."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_FaultError),
            stop=stop_after_attempt(self._endpoint.max_retries + 1),
            wait=self._wait_before_next,
            sleep=self._pause,
            before_sleep=self._count_retry,
            reraise=True,
        )
        entry: Entry
        try:
            entry = await retrying(self._try_once, request)
        except _FaultError as fault:
            entry = fault.entry
        self._record(entry, request)

    async def _try_once(self, request: Request) -> Entry:
        """Send a request; return a final response.

        Raises:
            _FaultError: Another try may help.
            _StoppedError: The run ends, by the budget for example.
            EndpointError: No try of any request will help.
        """
        import httpx2
        from openai import APIError, APIStatusError

        await self._pause(self._held_until - time.monotonic())
        worst = self._purse.worst_case(request)
        await self._reserve(worst)
        lost = worst  # until it is known better, a try may have cost the most it can
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):  # a trickle of bytes ends as well
                reply = await self._client.post(
                    "/chat/completions", cast_to=httpx2.Response, body=request["body"]
                )
            entry = self._read(reply, request)
            lost = 0.0
            self._pay(entry, worst)
            if completion(entry) is None:
                raise _FaultError(entry)
            return entry
        except APIStatusError as error:
            lost = 0.0
            return self._judge(error, request)
        except (APIError, TimeoutError) as error:
            if isinstance(error, APIError) and never_arrived(error):
                lost = 0.0
            fault = "timeout" if isinstance(error, TimeoutError) else fault_name(error)
            raise self._fault(request, fault) from None
        finally:
            self._purse.lost += lost
            self._purse.release(worst)
            self._settled.set()

    async def _reserve(self, worst: float) -> None:
        """Set the worst case aside, waiting for requests under way to turn out cheaper."""
        while not self._stopping.is_set():
            if self._purse.reserve(worst):
                return
            if not self._purse.under_way:
                self._stop("budget")
                break
            self._settled.clear()
            await self._settled.wait()
        raise _StoppedError

    def _read(self, reply: Any, request: Request) -> Entry:
        """Make an entry of a reply with status 200; one without choices carries an error."""
        try:
            body = json.loads(reply.content)
        except ValueError:
            raise self._fault(request, "malformed_json") from None
        error = None if is_completion(body) else {"code": "empty_choices", "message": "no answer"}
        return make_entry(
            request["custom_id"],
            status=reply.status_code,
            request_id=reply.headers.get("x-request-id"),
            body=body,
            error=error,
        )

    def _judge(self, error: "APIStatusError", request: Request) -> Entry:
        """Tell apart a status that ends the run, one that may pass, and one that is the answer."""
        status, code = error.status_code, error_code(error)
        wait_s = retry_after(error.response.headers)
        if status in FATAL_STATUS or status < 400 or code in NO_CREDIT:
            raise explain(error, self._endpoint) from None
        if wait_s is not None and wait_s > self._endpoint.max_wait_s:
            raise EndpointError(
                f"{self._endpoint.url}: the server asks to wait {wait_s:.0f} s, longer than "
                f"max_wait_s ({self._endpoint.max_wait_s:g}). Run again later, or raise it"
            ) from None
        entry = make_entry(
            request["custom_id"],
            status=status,
            request_id=error.request_id,
            body=_json_or_none(error.response.content),
            error={"code": code or str(status), "message": error.message},
        )
        if status not in PASSING_STATUS and status < 500:
            return entry
        if wait_s is not None:  # it holds for all: no one else should run into it meanwhile
            self._held_until = max(self._held_until, time.monotonic() + wait_s)
        raise _FaultError(entry, wait_s) from None

    @staticmethod
    def _fault(request: Request, code: str) -> _FaultError:
        return _FaultError(make_entry(request["custom_id"], error={"code": code, "message": code}))

    def _record(self, entry: Entry, request: Request) -> None:
        answered = completion(entry) is not None
        if not answered and self._stopping.is_set() and passes(entry):
            return  # its tries were cut short: missing, not failed
        self._journal.append(entry)
        self._unsynced.set()
        self._welcome.set()
        self._summary.note(entry, request["body"]["model"])
        self._progress.step()
        if answered:
            self._failed_in_a_row = 0
        elif passes(entry) or not self._journal.answered:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._endpoint.give_up_after:
                raise EndpointError(
                    f"{self._endpoint.url}: {self._failed_in_a_row} requests in a row failed for "
                    f"good (last fault: {failure_code(entry)}). Check the server, the model's name "
                    "and the options, then run again"
                )

    def _pay(self, entry: Entry, worst: float) -> None:
        cost = self._purse.pay(entry, worst)
        known = self._summary.cost_usd
        self._summary.cost_usd = None if cost is None or known is None else known + cost

    # -- waiting -----------------------------------------------------------------------------------

    def _wait_before_next(self, state: "RetryCallState") -> float:
        from tenacity import wait_exponential, wait_random

        assert state.outcome is not None
        fault = state.outcome.exception()
        assert isinstance(fault, _FaultError)
        if fault.wait_s is not None:  # a little later each, so that they do not return in one wave
            return fault.wait_s + random.uniform(0, 0.1 * fault.wait_s)
        start = self._endpoint.backoff_s
        backoff = wait_exponential(multiplier=start, max=self._endpoint.max_wait_s)
        return (backoff + wait_random(0, start))(state)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the run."""
        if seconds > 0:
            await _wait(self._stopping, seconds)

    def _count_retry(self, state: "RetryCallState") -> None:
        assert state.outcome is not None
        fault = state.outcome.exception()
        assert isinstance(fault, _FaultError)
        self._welcome.set()
        self._summary.retried[failure_code(fault.entry)] += 1


def _run_interruptibly(asking: _Asking) -> None:
    """Run in a thread of its own, so that Ctrl-C reaches the caller's thread undisturbed.

    It also works where an event loop runs already, as in a notebook.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="openai-client") as pool:
        future = pool.submit(lambda: asyncio.run(asking.run()))
        for at_once in (False, True):
            try:
                return future.result()
            except KeyboardInterrupt:
                asking.interrupt(at_once=at_once)
        return future.result()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _json_or_none(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
