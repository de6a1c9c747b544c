"""One client for every OpenAI-compatible server, shared by the teacher and the judge.

Requests and responses have the format of the OpenAI Batch API, whichever way they travel:
:func:`ask` sends them one by one, many at a time; :func:`ask_in_batches` hands them in as files at
half the price. Both append to one journal, ask only for what it lacks, keep within a budget and
end cleanly. :func:`read_answers` reads the journal, :func:`read_recorded` files made elsewhere,
:func:`estimate` tells the cost beforehand, :func:`forget` removes answers for
good.
"""

from .batch import ask_in_batches
from .chat import ask
from .connection import EndpointError
from .journal import JournalError, forget, held_ids, read_answers, read_failures
from .money import Estimate, estimate
from .options import BatchOptions, EndpointOptions, Price
from .protocol import completion, failure_code, read_recorded, same_model
from .summary import Summary

__all__ = [
    "BatchOptions",
    "EndpointError",
    "EndpointOptions",
    "Estimate",
    "JournalError",
    "Price",
    "Summary",
    "ask",
    "ask_in_batches",
    "completion",
    "estimate",
    "failure_code",
    "forget",
    "held_ids",
    "read_answers",
    "read_failures",
    "read_recorded",
    "same_model",
]
