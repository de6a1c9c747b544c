"""The requests that a run is given: checked, counted, and sifted for those still to be asked."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from .journal import Journal
from .money import Purse
from .protocol import Request, check_request, encode_body
from .summary import Summary


def open_account(journal: Journal, purse: Purse, summary: Summary) -> None:
    """Read a journal and book what it has cost so far."""
    for entry in journal.load():
        purse.pay(entry)
    summary.duplicates = journal.duplicates
    summary.cost_before_usd = None if purse.unpriced else purse.spent


class Wanted:
    """Requests, read one by one as they are needed.

    Args:
        requests: In the Batch format; may be longer than memory.
        journal: Knows what is answered.
        summary: Takes the counts.
    """

    def __init__(self, requests: Iterable[Request], journal: Journal, summary: Summary):
        self._requests, self._journal, self._summary = iter(requests), journal, summary
        self._seen: dict[str, bytes] = {}

    def pending(self) -> Iterator[Request]:
        """Yield every request that the journal has no answer for, once.

        Raises:
            ValueError: A request is malformed, or its id stands for another one already.
        """
        for request in self._requests:
            check_request(request)
            custom_id = request["custom_id"]
            content = sha256(encode_body(request)).digest()
            if custom_id in self._seen:
                if self._seen[custom_id] != content:
                    raise ValueError(
                        f"custom_id {custom_id} stands for two different requests; make it a hash "
                        "of all that the answer depends on"
                    )
                self._summary.repeated += 1
                continue
            self._seen[custom_id] = content
            self._summary.asked += 1
            if custom_id in self._journal.answered:
                self._summary.answered_before += 1
            else:
                yield request

    def count_rest(self) -> None:
        """Read the requests that were not asked any more, and count what nobody asks for."""
        for _ in self.pending():
            pass
        known = self._journal.answered | self._journal.failed.keys()
        self._summary.foreign += len(known - self._seen.keys())
