"""ISEAR: answers to "describe a situation in which you felt ...", in its pipe-separated file."""

import random
from dataclasses import dataclass

from mental_slm.sample.composer import PhraseBook, Register, compose
from mental_slm.sample.phrases import BANKS

RESPONDENTS = 21
EMOTIONS = ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt")
UNCLEAR_SHARE = 0.06

HEADER = (
    "ID|CITY|COUN|SUBJ|SEX|AGE|RELI|PRAC|FOCC|MOCC|FIEL|EMOT|WHEN|LONG|INTS|ERGO|TROPHO|TEMPER|"
    "EXPRES|MOVE|EXP1|EXP2|EXP10|PARAL|CON|EXPC|PLEA|PLAN|FAIR|CAUS|COPING|MORL|SELF|RELA|VERBAL|"
    "NEUTRO|Field1|Field3|Field2|MYKEY|SIT|STATE|"
)
_LINE_BREAKS = (" á", " á", "á", " á á")  # what a line break became upstream
_LINE_BREAK_SHARE = 0.65
_QUESTIONNAIRE_FIELDS = 35

#: Answers that describe nothing, or not where one expects it: (respondent, emotion) to answer.
_PLANTED = {
    (2, "shame"): "[ No response.]",
    (5, "guilt"): "[ No response.]",
    (8, "sadness"): "[ No response.]",
    (11, "disgust"): "[ No response.]",
    (3, "shame"): "None.",
    (9, "anger"): "[ Never.]",
    (12, "guilt"): "I can't remember a situation like that just now.",
    (14, "disgust"): "More or less the same as in anger, only with mice.",
    (4, "joy"): "[ I do not know whether it counts: I won a pumpkin in a village raffle.]",
    (6, "fear"): "[ Only in dreams, when I fall from our garden wall.]",
    # equal answers, once under one emotion and once under two
    (1, "joy"): "The first warm evening by our pond.",
    (13, "joy"): "The first warm evening by our pond.",
    (7, "sadness"): "The phone call about my aunt's farm.",
    (10, "fear"): "The phone call about my aunt's farm.",
}
_PIPES = ((0, "anger"), (6, "disgust"), (15, "guilt"))
_QUOTATIONS = ((3, "fear"), (8, "anger"), (16, "shame"))
_BARE_BACKSLASH = (10, "joy")


@dataclass(frozen=True)
class Answer:
    """One answer of one respondent to the question about one emotion."""

    respondent: int
    emotion: str
    text: str


def fabricate_isear(rng: random.Random, register: Register) -> dict[str, bytes]:
    """Write the ISEAR file.

    Args:
        rng: The source of chance.
        register: Everything written so far.

    Returns:
        Content by path below the sample folder.
    """
    book = PhraseBook(BANKS, rng)
    answers = [
        Answer(respondent, emotion, _answer(respondent, emotion, book, register, rng))
        for respondent in range(RESPONDENTS)
        for emotion in EMOTIONS
    ]
    lines = [HEADER, *(_line(answer, rng) for answer in answers)]
    return {"isear/isear.csv": "\n".join(lines).encode("utf-8")}  # upstream: no final line end


def _answer(
    respondent: int, emotion: str, book: PhraseBook, register: Register, rng: random.Random
) -> str:
    place = (respondent, emotion)
    if place in _PLANTED:
        return _PLANTED[place]
    text = compose(register, "ISEAR", lambda: _draft(book, emotion, rng), 8, 40)
    if place in _QUOTATIONS:
        # The file escapes a quote with a backslash and leaves the closing field quote in place.
        return f'{text} "Look at you", they said.'.replace('"', r"\"") + '"'
    if place == _BARE_BACKSLASH:
        return f'{text} \\Hurrah\\, we all called."'
    if place in _PIPES:
        return text.replace(" ", " | ", 1)
    return _broken_lines(text, rng) if rng.random() < _LINE_BREAK_SHARE else text


def _draft(book: PhraseBook, emotion: str, rng: random.Random) -> str:
    bank = "mixed_event" if rng.random() < UNCLEAR_SHARE else emotion
    account = book.phrase("account").replace("<what>", book.phrase(bank))
    sentences = [account[0].upper() + account[1:]]
    if rng.random() < 0.3:
        sentences.append(book.sentence("any_reaction"))
    if rng.random() < 0.75:
        sentences.append(book.sentence(f"{emotion}_reaction"))
    return " ".join(sentences)


def _broken_lines(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    position = rng.randrange(3, len(words))
    mark = rng.choice(_LINE_BREAKS)
    return " ".join(words[:position]) + mark + " ".join(words[position:])


def _line(answer: Answer, rng: random.Random) -> str:
    respondent = f"99{answer.respondent + 1:03d}"
    order = EMOTIONS.index(answer.emotion) + 1
    questionnaire = [str(rng.randrange(5)) for _ in range(_QUESTIONNAIRE_FIELDS)]
    questionnaire[10] = str(order)  # EMOT
    judged = [str(rng.randrange(1, 5)) for _ in range(2)]  # Field3, Field2
    key = f"0{respondent}{order}"
    return "|".join(
        [respondent, *questionnaire, answer.emotion, *judged, key, answer.text, "1", ""]
    )
