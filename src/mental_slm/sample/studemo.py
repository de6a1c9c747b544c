"""StudEmo: reviews rated by one or two students on ten dimensions, in two files."""

import random
from collections import Counter
from functools import partial

from mental_slm.sample.composer import PhraseBook, Register, compose
from mental_slm.sample.dirt import plant
from mental_slm.sample.formats import csv_bytes
from mental_slm.sample.phrases import BANKS
from mental_slm.tasks import EMOTION_DIMENSIONS

REVIEWS = 90
UNRATED = 6
ANNOTATORS = 8
SECOND_RATING_SHARE = 0.44

_PLEASANT = ("joy", "trust", "anticipation", "surprise")
_UNPLEASANT = ("fear", "sadness", "disgust", "anger")
#: How much each kind of sentence adds to valence and arousal.
_VALENCE = {
    "joy": 2, "trust": 1, "anticipation": 1, "surprise": 0, "fear": -1, "sadness": -2,
    "disgust": -2, "anger": -2,
}  # fmt: skip
_AROUSAL = {
    "joy": 1, "trust": 0, "anticipation": 1, "surprise": 1, "fear": 2, "sadness": 0, "disgust": 1,
    "anger": 2,
}  # fmt: skip
_DIRT = {"entity": 1, "double_space": 2, "phone": 1, "emoji": 1}


def fabricate_studemo(rng: random.Random, register: Register) -> dict[str, bytes]:
    """Write the ratings and the texts of StudEmo.

    Args:
        rng: The source of chance.
        register: Everything written so far.

    Returns:
        Content by path below the sample folder.
    """
    book = PhraseBook(BANKS, rng)
    moods = [_mood(rng) for _ in range(REVIEWS)]
    texts = [
        compose(register, "StudEmo", partial(_draft, book, mood, rng), 14, 50) for mood in moods
    ]
    plant(texts, _DIRT, rng)
    text_ids = sorted(rng.sample(range(1, 6000), REVIEWS))
    rated = rng.sample(range(REVIEWS), REVIEWS - UNRATED)
    ratings = [
        [text_ids[number], annotator, *_rate(moods[number], rng)]
        for number in rated
        for annotator in _annotators(rng)
    ]
    return {
        "studemo/annotation_data.csv": csv_bytes(
            ["text_id", "annotator_id", *EMOTION_DIMENSIONS], ratings, "\r\n"
        ),
        "studemo/text_data.csv": csv_bytes(
            ["text_id", "text"], zip(text_ids, texts, strict=True), "\r\n"
        ),
    }


def _mood(rng: random.Random) -> Counter[str]:
    """Return how strongly each emotion is meant, 0 to 2; most reviews lean to one side."""
    side, other = (_PLEASANT, _UNPLEASANT) if rng.random() < 0.5 else (_UNPLEASANT, _PLEASANT)
    mood = Counter(rng.sample(side, rng.randrange(3)))
    if rng.random() < 0.2:
        mood[rng.choice(other)] += 1
    return mood


def _draft(book: PhraseBook, mood: Counter[str], rng: random.Random) -> str:
    banks = [f"review_{emotion}" for emotion in mood]
    if len(banks) < 2 or rng.random() < 0.3:
        banks.append("review_neutral")
    rng.shuffle(banks)
    return " ".join(book.sentence(bank) for bank in ["review_opening", *banks])


def _annotators(rng: random.Random) -> list[int]:
    return sorted(rng.sample(range(ANNOTATORS), 2 if rng.random() < SECOND_RATING_SHARE else 1))


def _rate(mood: Counter[str], rng: random.Random) -> list[float]:
    """Return one student's ten scores: what the text means, give or take a point, within range."""
    meant = {emotion: 2 * strength for emotion, strength in mood.items()}
    meant["valence"] = sum(_VALENCE[emotion] for emotion in mood)
    meant["arousal"] = sum(_AROUSAL[emotion] for emotion in mood)
    scores = []
    for dimension, (least, most) in EMOTION_DIMENSIONS.items():
        slip = rng.choice([0, 0, 0, 1, -1])
        scores.append(float(min(most, max(least, meant.get(dimension, 0) + slip))))
    return scores
