"""Filters: which answers are good enough to learn from, and why the others are not.

Each answer gets the first reason of :data:`REASONS` that applies. Nothing is cut or mended: an
answer is taken as it is or put aside. What compares answers with each other runs last, among those
that passed everything else, in the order of the records, so that the result is the same every time.
"""

import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mental_slm.privacy import find_personal_data
from mental_slm.safety import mentions_risk
from mental_slm.tasks import normalise_phrase, parse_answer

from . import wordings
from .filter_options import FilterOptions

logger = logging.getLogger(__name__)

SHINGLE_WORDS = 5
OPENING_WORDS = 5

#: Any opening may occur so often: of few answers, a share says nothing.
OPENINGS_ALLOWED = 10
COPIED_WORDS = 8

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


@dataclass(frozen=True)
class Candidate:
    """An answer that may become a pair.

    Attributes:
        record_id: Of the post.
        task: Name of the task.
        phrases: Label to the phrase that stands for it, of the task.
        label: Gold label; None for a label-blind answer, the reference of a test post.
        post: The post as the teacher saw it, personal data masked.
        prompt: What the student will read.
        answer: What the teacher wrote.
        finish_reason: As the API reports it: ``stop``, ``length``, ``content_filter``.
        refusal: What the API reports as a refusal.
    """

    record_id: str
    task: str
    phrases: Mapping[str, str]
    label: str | None
    post: str
    prompt: str
    answer: str
    finish_reason: str | None = "stop"
    refusal: str | None = None


@dataclass(frozen=True)
class Rejection:
    """An answer that is put aside, and why."""

    candidate: Candidate
    reason: str


def filter_candidates(
    candidates: Sequence[Candidate], options: FilterOptions, count_tokens: Callable[[str], int]
) -> tuple[list[Candidate], list[Rejection]]:
    """Tell the answers that are good enough from the others.

    Args:
        candidates: Answers, in the order of the records.
        options: Thresholds.
        count_tokens: Text to its length in tokens.

    Returns:
        The accepted answers and the rejected ones, each in the order they came in.
    """
    reasons: dict[int, str] = {}
    for index, candidate in enumerate(candidates):
        reason = find_fault(candidate, options, count_tokens)
        if reason:
            reasons[index] = reason
        if (index + 1) % 5000 == 0:
            logger.info("Judged %d of %d answers", index + 1, len(candidates))
    for compare in (_near_duplicates, _surplus_openings):
        left = [(index, each) for index, each in enumerate(candidates) if index not in reasons]
        reasons |= compare(left, options)
    accepted = [each for index, each in enumerate(candidates) if index not in reasons]
    return accepted, [Rejection(candidates[index], reasons[index]) for index in sorted(reasons)]


def count_reasons(rejections: Iterable[Rejection]) -> dict[str, int]:
    """Return how many answers each reason put aside, all reasons named, in their order."""
    counts = Counter(rejection.reason for rejection in rejections)
    return {reason: counts[reason] for reason in REASONS}


def find_fault(
    candidate: Candidate, options: FilterOptions, count_tokens: Callable[[str], int]
) -> str | None:
    """Return the first reason against one answer on its own, or None."""
    return next((reason for reason in _faults(candidate, options, count_tokens)), None)


def _faults(
    candidate: Candidate, options: FilterOptions, count_tokens: Callable[[str], int]
) -> Iterator[str]:
    answer = candidate.answer
    words = wordings.own_words(answer)
    if candidate.refusal or candidate.finish_reason == "content_filter" or wordings.refuses(words):
        yield "refusal"
    if candidate.finish_reason == "length":
        yield "cut_short"
    if not answer.strip():
        yield "empty"
    if candidate.label is None:
        if _tells_label(candidate):
            yield "label_leak"
    elif _contradicts_label(candidate, words):
        yield "label_contradiction"
    yield from _wrong_lengths(candidate, options, count_tokens)
    if _needs_crisis_help(candidate, words) and not wordings.offers_crisis_help(answer):
        yield "no_crisis_resource"
    if wordings.diagnoses(words, candidate.post):
        yield "diagnosis"
    if wordings.advises_medication(words):
        yield "medication"
    if find_personal_data(answer):
        yield "personal_data"
    if options.copied_share is not None and copied_share(candidate) > options.copied_share:
        yield "copies_post"


#: Why an answer is put aside, in the order in which the reasons are looked for.
REASONS: tuple[str, ...] = (
    "refusal",
    "cut_short",
    "empty",
    "label_leak",
    "label_contradiction",
    "too_short",
    "too_long",
    "no_crisis_resource",
    "diagnosis",
    "medication",
    "personal_data",
    "copies_post",
    "near_duplicate",
    "template_share",
)


def copied_share(candidate: Candidate) -> float:
    """Return the share of an answer's eight-word sequences that stand in the post."""
    lines = candidate.answer.splitlines()
    answer = "\n".join(line for line in lines if not wordings.is_answer_line(line))
    sequences = _sequences(_words(answer), COPIED_WORDS)
    in_post = set(_sequences(_words(candidate.post), min(COPIED_WORDS, len(_words(answer)))))
    return sum(each in in_post for each in sequences) / len(sequences) if sequences else 0.0


def _tells_label(candidate: Candidate) -> bool:
    """Tell whether a label-blind answer states a label, in an answer line or as its last line."""
    lines = [line for line in candidate.answer.splitlines() if line.strip()]
    if any(wordings.is_answer_line(line) for line in lines):
        return True
    phrases = {normalise_phrase(phrase) for phrase in candidate.phrases.values()}
    return bool(lines) and normalise_phrase(lines[-1]) in phrases


def _contradicts_label(candidate: Candidate, words: str) -> bool:
    label = str(candidate.label)
    if parse_answer(candidate.phrases, candidate.answer) != label:
        return True
    return wordings.contradicts(candidate.phrases, label, words)


def _wrong_lengths(
    candidate: Candidate, options: FilterOptions, count_tokens: Callable[[str], int]
) -> Iterator[str]:
    tokens = count_tokens(candidate.answer)
    if options.min_tokens is not None and tokens < options.min_tokens:
        yield "too_short"
    if options.max_tokens is not None and tokens > options.max_tokens:
        yield "too_long"
    if options.window is not None and tokens + _at_most(candidate.prompt) > options.window:
        if tokens + count_tokens(candidate.prompt) > options.window:
            yield "too_long"


def _at_most(text: str) -> int:
    """Return a number of tokens that no tokenizer exceeds: each token holds a byte or more."""
    return len(text.encode("utf-8", "surrogatepass"))


def _needs_crisis_help(candidate: Candidate, words: str) -> bool:
    """Tell whether risk is in play; the phrase in the answer line alone says nothing about it."""
    at_risk = candidate.label == "suicidal" or mentions_risk(candidate.post)
    return at_risk or mentions_risk(words)


def _near_duplicates(
    candidates: list[tuple[int, Candidate]], options: FilterOptions
) -> dict[int, str]:
    """Find the answers that repeat an earlier one of their task.

    Answers to different tasks about one post may well resemble each other, so tasks are apart.
    """
    if options.near_duplicate is None:
        return {}
    repeats: dict[int, str] = {}
    for rows in _by_task(candidates):
        shingles = [
            frozenset(_sequences(_words(candidate.answer), SHINGLE_WORDS)) for _, candidate in rows
        ]
        for position in find_repeats(shingles, options.near_duplicate):
            repeats[rows[position][0]] = "near_duplicate"
    return repeats


def find_repeats(sets: Sequence[frozenset[int]], threshold: float) -> list[int]:
    """Return the positions of sets whose Jaccard similarity to an earlier, kept set is high.

    Exact, by prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007): if two sets share so
    much, then their rarest ``n - ceil(threshold * n) + 1`` elements have one in common. Only sets
    that meet there are compared.

    Args:
        sets: In the order in which the first one wins.
        threshold: Jaccard similarity from which two sets count as the same.
    """
    frequency = Counter(element for each in sets for element in each)
    holders: dict[int, list[int]] = defaultdict(list)
    repeats = []
    for position, elements in enumerate(sets):
        rarest = sorted(elements, key=lambda element: (frequency[element], element))
        shared = math.ceil(threshold * len(rarest) - 1e-9)  # 0.55 * 100 is a little over 55
        prefix = rarest[: len(rarest) - shared + 1]
        others = {other for element in prefix for other in holders[element]}
        if any(_jaccard(elements, sets[other]) >= threshold for other in others):
            repeats.append(position)
            continue
        for element in prefix:
            holders[element].append(position)
    return repeats


def _jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def _surplus_openings(
    candidates: list[tuple[int, Candidate]], options: FilterOptions
) -> dict[int, str]:
    """Find the answers beyond the share of their task that may begin alike."""
    if options.opening_share is None:
        return {}
    surplus: dict[int, str] = {}
    for rows in _by_task(candidates):
        allowed = max(math.ceil(options.opening_share * len(rows) - 1e-9), OPENINGS_ALLOWED)
        seen: Counter[tuple[str, ...]] = Counter()
        for index, candidate in rows:
            opening = tuple(_words(candidate.answer)[:OPENING_WORDS])
            seen[opening] += 1
            if seen[opening] > allowed:
                surplus[index] = "template_share"
    return surplus


def _by_task(
    candidates: list[tuple[int, Candidate]],
) -> Iterable[list[tuple[int, Candidate]]]:
    tasks: dict[str, list[tuple[int, Candidate]]] = defaultdict(list)
    for index, candidate in candidates:
        tasks[candidate.task].append((index, candidate))
    return tasks.values()


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case; in scripts without blanks each letter is one."""
    return _WORD.findall(text.lower())


def _sequences(words: list[str], length: int) -> list[int]:
    """Return the digests of all runs of ``length`` words; of the whole if there are fewer."""
    if not words:
        return []
    span = min(length, len(words))
    return [hash(tuple(words[start : start + span])) for start in range(len(words) - span + 1)]
