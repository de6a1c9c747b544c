"""Persons' names in running text.

A name is found by three kinds of evidence: it stands in a list of given names, it has a capital
letter, and the words around it speak of a person ("my friend ...", "my name is ...", "Dr. ...", a
signature). A listed name with a capital is enough unless it is also a plain word; such a name, and
one that no list holds, needs its surroundings. Lists: Faker's given names and surnames of the
languages in Latin script (https://faker.readthedocs.io; MIT; its ``en`` list is the US census).
"""

import importlib
import pkgutil
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from .words import (
    CALLED_AFTER,
    DETERMINERS,
    NAME_WORDS,
    NOT_NAMES,
    NOT_PERSONS,
    PERSON_LEADS,
    PERSON_VERBS,
    PERSONAL_VERBS,
    PLACE_PREFIXES,
    PRONOUNS,
    RARELY_NAMES,
    RELATIONS,
    SHORT_FORMS,
    SOFT_TITLES,
    TITLES,
    TRUSTING,
)

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_POSSESSIVE = re.compile(r"['’]s$|['’]$", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|[.!?:;…\n\"“”*>(\[-])[\s\"“”'‘*(]*$")
_NAMED = re.compile(
    r"\b(?:named|nicknamed|name['’]?s|name\s+(?:is|was)|name:|goes\s+by|call(?:s|ed)?\s+me"
    r"|(?:guy|girl|man|woman|boy|person|friend|kid|someone|colleague|dude|lady|baby|one)\s+called"
    r"|ich\s+hei(?:ß|ss)e|je\s+m['’]appelle|me\s+llamo|mi\s+chiamo)\s+[\"“']?$",
    re.IGNORECASE,
)
_I_AM = re.compile(r"\b(?:i['’]?m|i\s+am|this\s+is|ich\s+bin|je\s+suis)\s+$", re.IGNORECASE)
_GREETING = re.compile(
    r"(?:^|[.!?\n]\s*|[\"“]\s*)(?:hi|hey|hello|dear|dearest|rip|bye|goodbye|happy\s+birthday"
    r"|thanks|thank\s+you|congrats|congratulations|hallo|liebe[rs]?|cher|chère|hola|ciao)"
    r"(?:\s+(?:again|there|my))?,?\s+$",
    re.IGNORECASE,
)
_CLOSING = (
    r"(?:with\s+)?(?:(?:all\s+my|much|lots\s+of)\s+)?(?:love|best|best\s+wishes|(?:kind\s+"
    r"|best\s+|warm\s+)?regards"
    r"|sincerely|yours(?:\s+(?:truly|sincerely|faithfully))?|cheers|thanks(?:\s+(?:again"
    r"|so\s+much))?"
    r"|thank\s+you|xoxo|xx?|hugs|take\s+care|signed|always|liebe\s+grüße|viele\s+grüße|lg|vg"
    r"|bises|bisous|cordialement|saludos)"
)
_SIGNATURE = re.compile(
    r"(?:(?:^|\n|(?<=[.!?…)])[ \t])[ \t]*(?:[-–—~]{1,2}|"
    + _CLOSING
    + r"[ \t]*(?:[,!.]|[,!.]?[ \t]*\n)[ \t\n]*[-–—~]?)"
    r"[ \t]*)(?P<name>[^\W\d_][\w.'’-]*(?:[ \t]+[^\W\d_][\w.'’-]*){0,2})[ \t]*(?:xx?"
    r"|xoxo)?[ \t]*(?=\n|$)",
    re.IGNORECASE,
)
_PERSON_NAMED = re.compile(
    r"\b(?:guy|girl|man|woman|boy|person|friend|kid|dude|lady|baby|boyfriend|girlfriend|son"
    r"|daughter"
    r"|brother|sister|cousin|colleague|coworker|teacher|therapist|someone|somebody)\s+named\s+$",
    re.IGNORECASE,
)
_SURNAME_SHAPE = re.compile(r"(?:O['’]|D['’]|Mc|Fitz)[A-Z][a-z]{2,}(?<!McDonald)(?<!McDonalds)$")
_MONTHS = re.compile("january|april|may|june|july|august")
_SHORT_TITLE = re.compile(r"\b(?:mr|mrs|ms)\. $", re.IGNORECASE)
_MY_NAME_IS = re.compile(r"\bname(?:\s+is|['’]s|s)\s+$", re.IGNORECASE)
_AND_I = re.compile(r" and (?:I|me|my)\b")
_AND_I_AM = re.compile(r"(?:\s+and|,)\s+i['’\s]", re.IGNORECASE)
_PARTICLES = frozenset(
    "van von der den de da do dos das di du del la le bin ibn al el ter zu".split()
)
#: A name without its capital is looked for only after one of these: lower-case words are many.
_ANNOUNCING = RELATIONS | frozenset(
    "named nicknamed called is s was by me im i'm am name's mr mrs ms dr bin suis heisse llamo"
    " chiamo".split()
)
_INITIAL_GAPS = (" ", ". ", ".")


class _Word(NamedTuple):
    text: str  # without a possessive ending
    key: str  # lower case, accents removed
    start: int
    end: int

    @property
    def capital(self) -> bool:
        return self.text[0].isupper()

    @property
    def shouted(self) -> bool:
        return len(self.text) > 1 and self.text.isupper()


def find_names(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of persons' names, from left to right, without overlaps.

    Given name and surname are one span; a possessive ``'s`` stays outside.
    """
    words = [_word(match) for match in _WORD.finditer(text)]
    signed = _signatures(text)
    position = 0
    while position < len(words):
        last = _name_from(text, words, position, signed)
        if last is None:
            position += 1
            continue
        yield words[position].start, _with_full_stop(text, words[last])
        position = last + 1


def _name_from(text: str, words: list[_Word], position: int, signed: frozenset[int]) -> int | None:
    """Return the index of the last word of the name that begins at ``position``, if one does."""
    word = words[position]
    if not word.capital:
        announced = position and words[position - 1].key in _ANNOUNCING
        return position if announced and _lower_case_name(text, words, position) else None
    if word.start in signed:
        return _last_word(text, words, position)
    if word.key in NOT_PERSONS - NAME_WORDS - RARELY_NAMES or not _could_be_name(word):
        return None
    if _called_for_person(text, words, position):
        return _last_word(text, words, position)
    if not _looks_like_name(text, words, position):
        return None
    last = _last_word(text, words, position)
    return None if _is_place(text, words, position, last) else last


def _could_be_name(word: _Word) -> bool:
    if word.shouted:
        return len(word.key) > 3 and _is_given_name(word.key)
    return len(word.key) > 1 and word.key not in TITLES


def _called_for_person(text: str, words: list[_Word], position: int) -> bool:
    """Tell whether the words before a capitalised word announce a person, listed or not."""
    word = words[position]
    before = _before(text, word)
    return (
        _addressed(text, words, position)
        or _related(text, words, position)
        or _NAMED.search(before) is not None
        or (_greeted(text, word) and _GREETING.search(before) is not None)
    )


def _looks_like_name(text: str, words: list[_Word], position: int) -> bool:
    """Tell whether a capitalised word is a person by the lists and by the words beside it."""
    word = words[position]
    if _is_plain_given_name(word) or _SURNAME_SHAPE.match(word.text):
        return True
    before = _before(text, word)
    previous = _neighbour(text, words, position, -1)
    following = _neighbour(text, words, position, +1)
    if following and following.capital and word.key not in NOT_NAMES:
        surname = following.key in _surnames() and not _is_word(following.key)
        introduced = _I_AM.search(before) and following.key not in NOT_PERSONS | NOT_NAMES
        if (surname and _is_given_name(word.key)) or (introduced and not following.shouted):
            return True
    if word.key in NAME_WORDS or word.key in RARELY_NAMES:
        return _stands_for_person(text, before, word, previous, following)
    if word.key in NOT_NAMES or _starts_sentence(before) or not previous or previous.capital:
        return False
    after = text[word.end :].split(maxsplit=2)[:2]
    told = following is not None and following.key in PERSONAL_VERBS
    return previous.key in PERSONAL_VERBS or (told and after[-1].strip(",.!").lower() in PRONOUNS)


def _is_place(text: str, words: list[_Word], position: int, last: int) -> bool:
    """Tell whether a name is that of a town, a school or a street."""
    previous = _neighbour(text, words, position, -1)
    following = _neighbour(text, words, last, +1)
    if following and following.capital and following.key in CALLED_AFTER:
        return True
    if previous and previous.capital and previous.key in PLACE_PREFIXES:
        return True
    if text[: words[position].start].endswith(
        ("St. ", "Ste. ")
    ):  # a town, a school, St. John's wort
        return True
    if previous and previous.key == "in" and last == position:
        return position < 2 or words[position - 2].key not in TRUSTING
    return False


def _lower_case_name(text: str, words: list[_Word], position: int) -> bool:
    """Tell whether a word without a capital stands where a name is expected."""
    word = words[position]
    if len(word.key) < 3 or word.key in NOT_PERSONS | DETERMINERS:
        return False
    before = _before(text, word)
    my_name_is = _MY_NAME_IS.search(before) and _AND_I_AM.match(text, word.end)
    if my_name_is or _PERSON_NAMED.search(before) or _SHORT_TITLE.search(before):
        return True
    previous = _neighbour(text, words, position, -1)
    if not previous:
        return False
    if word.key in NAME_WORDS and previous.key in RELATIONS:
        following = _neighbour(text, words, position, +1)
        return following is not None and following.key in PERSON_VERBS
    related = previous.key in RELATIONS or previous.key in ("mr", "mrs", "ms", "dr")
    introduced = (_I_AM.search(before) and _greeted(text, word)) or _NAMED.search(before)
    return _is_plain_given_name(word) and bool(related or introduced)


def _addressed(text: str, words: list[_Word], position: int) -> bool:
    """Tell whether a title stands before the word ("Dr. Okafor", "Aunt Grace")."""
    if not position:
        return False
    word, title = words[position], words[position - 1]
    gap = text[title.end : word.start]
    if gap not in (" ", ". ", "."):
        return False
    if title.key in TITLES and not (title.shouted and len(title.key) < 4):  # "MS" is a degree
        # "I saw the doctor. Then": a full stop ends a sentence unless the title is short for one
        short = len(title.key) <= 4 and word.key not in NOT_PERSONS
        return short or (gap == " " and title.capital)
    listed = _is_given_name(word.key) and word.key not in NOT_NAMES
    return title.key in SOFT_TITLES and gap == " " and title.capital and listed


def _related(text: str, words: list[_Word], position: int) -> bool:
    """Tell whether a word for a person stands before ("my boyfriend Xolani", "my son (Mark)")."""
    if not position:
        return False
    word, relation = words[position], words[position - 1]
    gap = text[relation.end : word.start]
    if relation.key not in RELATIONS or gap not in (" ", ", ", " (", ": ", " - ", " “", ' "'):
        return False
    listed = _is_given_name(word.key) and word.key not in NOT_NAMES
    if gap != " ":
        after = text[word.end : word.end + 1]
        return listed and (gap == " (" or after in (",", ")", ".") or not _is_word(word.key))
    if relation.capital:  # a heading, or the start of a sentence
        return listed
    return word.key not in NOT_PERSONS and word.key not in NOT_NAMES


def _stands_for_person(
    text: str, before: str, word: _Word, previous: _Word | None, following: _Word | None
) -> bool:
    """Tell a name that is also a word from the word, by what stands beside it."""
    if _AND_I.match(text, word.end) and not (previous and previous.key in DETERMINERS):
        return True
    if following and not following.capital and following.key in PERSON_VERBS:
        return not (previous and previous.key in DETERMINERS)
    if previous and previous.key in PERSON_LEADS:
        return True
    if following and following.key in ("and", "und", "et") and not _starts_sentence(before):
        return word.key in NAME_WORDS and not (previous and previous.key in DETERMINERS)
    return (
        word.key in NAME_WORDS
        and not word.shouted
        and not _starts_sentence(before)
        and not (previous and (previous.key in DETERMINERS or _heading(previous)))
        and not (following and following.capital and following.key not in NOT_PERSONS)
    )


def _last_word(text: str, words: list[_Word], position: int) -> int:
    """Return the index of the last word of a name: further given names, initials, surnames."""
    last = position
    heading = (
        position > 0 and _heading(words[position - 1]) and _adjacent(text, words, position - 1)
    )
    while last + 1 < len(words) and last - position < 3:
        step = _next_part(text, words, last, strict=heading)
        if not step:
            break
        last += step
    return last


def _next_part(text: str, words: list[_Word], last: int, strict: bool) -> int:
    """Return how many words the name goes on for after ``last`` (0, 1, or 2 with a particle)."""
    word, following = words[last], words[last + 1]
    gap = text[word.end : following.start]  # a possessive ending is part of it
    if gap not in (_INITIAL_GAPS if len(word.text) == 1 else (" ",)):
        return 0
    if len(following.text) == 1 and following.capital:  # an initial; "I" is a pronoun
        return int(following.text != "I" or text[following.end : following.end + 1] == ".")
    if following.text.lower() in _PARTICLES and last + 2 < len(words):
        after = words[last + 2]
        plain = after.capital and text[following.end : after.start] == " "
        return 2 * int(plain and after.key not in NOT_PERSONS)
    listed = following.key in _surnames() or _is_given_name(following.key)
    return int(_could_be_surname(following, word) and (listed or not strict))


def _could_be_surname(word: _Word, given: _Word) -> bool:
    return (
        word.capital
        and word.key not in NOT_PERSONS
        and word.key not in CALLED_AFTER
        and (word.shouted == given.shouted or len(given.text) == 1)
    )


def _signatures(text: str) -> frozenset[int]:
    """Return where the names under a text or a letter begin."""
    starts = set()
    for match in _SIGNATURE.finditer(text):
        name = match["name"]
        words = [_word(word) for word in _WORD.finditer(name)]
        dashed = match[0].lstrip()[:1] in "-–—~"
        known = any(_is_given_name(word.key) for word in words)
        if not words or not words[0].capital or words[0].shouted:
            continue
        month = _MONTHS.fullmatch(words[0].key) and dashed
        if words[0].key in (NOT_PERSONS | NOT_NAMES) - RARELY_NAMES or month:
            continue
        if any(word.text[0].islower() and word.key not in _PARTICLES for word in words):
            continue
        if dashed and not known and (len(words) > 2 or _is_list(text, match.start("name"))):
            continue
        starts.add(match.start("name") + words[0].start)
    return frozenset(starts)


def _is_list(text: str, start: int) -> bool:
    """Tell whether a dashed line is one of several, or not the last one of the text."""
    lines = [line for line in text.splitlines() if line.strip()]
    dashed = sum(line.lstrip()[:1] in "-–—~" for line in lines)
    return dashed > 1 or "\n" in text[start:].strip()


def _before(text: str, word: _Word) -> str:
    """Return what stands before a word, as far back as an introduction can reach."""
    return text[max(0, word.start - 48) : word.start]


def _greeted(text: str, word: _Word) -> bool:
    return text[word.end : word.end + 1] in ("", ",", "!", ".", ":", "\n", ")")


def _neighbour(text: str, words: list[_Word], position: int, step: int) -> _Word | None:
    """Return the word before or after, if nothing but blanks lies between."""
    other = position + step
    if not 0 <= other < len(words):
        return None
    left, right = sorted((words[position], words[other]), key=lambda word: word.start)
    return words[other] if not text[left.end : right.start].strip(" ") else None


def _adjacent(text: str, words: list[_Word], position: int) -> bool:
    return text[words[position].end : words[position + 1].start] == " "


def _heading(word: _Word) -> bool:
    return (
        word.capital
        and len(word.text) > 1
        and not _is_plain_given_name(word)
        and word.key not in TITLES | SOFT_TITLES
    )


def _starts_sentence(before: str) -> bool:
    return _SENTENCE_START.search(before) is not None


def _with_full_stop(text: str, word: _Word) -> int:
    """Return the end of a name; the full stop of a last initial belongs to it."""
    return word.end + (len(word.text) == 1 and text[word.end : word.end + 1] == ".")


def _word(match: "re.Match[str]") -> _Word:
    text = _POSSESSIVE.sub("", match[0])
    return _Word(text, _fold(text), match.start(), match.start() + len(text))


def _is_given_name(key: str) -> bool:
    names = _given_names()
    return key in names or ("-" in key and all(part in names for part in key.split("-")))


def _is_plain_given_name(word: _Word) -> bool:
    """Tell whether a word is a listed given name and nothing else."""
    return len(word.key) > 2 and _is_given_name(word.key) and not _is_word(word.key)


def _is_word(key: str) -> bool:
    return key in NOT_NAMES or key in NAME_WORDS or key in RARELY_NAMES or key in NOT_PERSONS


@lru_cache(maxsize=65536)
def _fold(text: str) -> str:
    """Return a word in lower case and without accents: "José" and "jose" are one name."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@lru_cache(maxsize=1)
def _given_names() -> frozenset[str]:
    lists = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary")
    return _faker_lists(*lists) | SHORT_FORMS


@lru_cache(maxsize=1)
def _surnames() -> frozenset[str]:
    return _faker_lists("last_names")


def _faker_lists(*attributes: str) -> frozenset[str]:
    """Return the single words of Faker's lists, folded, for all languages in Latin script."""
    from faker.providers import person

    found: set[str] = set()
    for module in pkgutil.iter_modules(person.__path__, f"{person.__name__}."):
        if module.name.endswith(
            "is_IS"
        ):  # thousands of rare names that are words elsewhere: Ran, Visa
            continue
        provider = importlib.import_module(module.name).Provider
        for attribute in attributes:
            names = getattr(provider, attribute, ())
            if not isinstance(names, property):  # some languages build theirs for each instance
                found.update(name for name in names if _WORD.fullmatch(name) and name < "\u0250")
    return frozenset(map(_fold, found))
