"""Personal data: what must be masked, what must stay, and how well both are done on planted values."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import CLASSES, UNSEEN_VALUES, WORLD_NAMES, Planter, measure, measure_unseen

from mental_slm.pipelines.ingestion.repair import repair_text
from mental_slm.privacy import KINDS, find_personal_data, mask, scrub, scrubbing
from mental_slm.safety import CRISIS_RESOURCE, INTENDED_USE

#: Just under what `python benchmarks/privacy.py` prints: recall, precision.
FLOORS = {
    "email": (0.98, 0.98),
    "url": (0.98, 0.98),
    "phone": (0.98, 0.98),
    "user": (0.98, 0.98),
    "user_labelled": (0.98, 0.98),
    "number": (0.98, 0.98),
    "card": (0.98, 0.98),
    "iban": (0.98, 0.98),
    "ip": (0.98, 0.98),
    "address": (0.97, 0.98),
    "date_of_birth": (0.98, 0.98),
    "name_listed": (0.95, 0.94),
    "name_world": (0.89, 0.98),
    "name_word": (0.92, 0.98),
    "name_surname": (0.98, 0.98),
    "name_lower": (0.91, 0.98),
}
#: The same for values that no pattern was fitted to.
UNSEEN_FLOORS = {
    "email": 0.90,
    "url": 0.98,
    "phone": 0.94,
    "user": 0.89,
    "number": 0.88,
    "address": 0.97,
    "date_of_birth": 0.98,
    "name": 0.78,
}


@pytest.fixture(scope="module")
def scores():
    return measure(find_personal_data)


@pytest.mark.parametrize("kind", CLASSES)
def test_planted_values_are_found_and_little_else_is(kind: str, scores) -> None:
    score = scores[kind]
    recall, precision = FLOORS[kind]
    assert score.planted >= 300
    assert score.recall >= recall
    assert score.precision >= precision


def test_values_that_no_pattern_was_fitted_to() -> None:
    measured = measure_unseen(find_personal_data)
    assert set(measured) == set(UNSEEN_VALUES) == set(UNSEEN_FLOORS)
    for kind, score in measured.items():
        assert score.planted >= 300
        assert score.recall >= UNSEEN_FLOORS[kind], kind
        assert score.precision >= 0.97, kind


def test_the_measurement_notices_a_blind_and_a_greedy_finder() -> None:
    blind = measure(lambda text: [], count=5)
    assert all(score.recall == 0 for score in blind.values())
    greedy = measure(lambda text: [("name", 0, len(text))], count=5)
    assert all(score.recall == 1 and score.precision < 0.6 for score in greedy.values())


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("my boyfriend Daniel left", "my boyfriend <name> left"),
        ("I'm Laura Petersen, 23.", "I'm <name>, 23."),
        ("Laura's mother and Anna-Lena K. agree", "<name>'s mother and <name> agree"),
        ("Dr. Okafor raised it to 50 mg", "Dr. <name> raised it to 50 mg"),
        ("Thanks for reading.\n\n- Xolani", "Thanks for reading.\n\n- <name>"),
        ("my friend daniel and i", "my friend <name> and i"),
        ("I told Mark, and Mark told me to go", "I told <name>, and <name> told me to go"),
        ("I confide in Daniel, in Texas", "I confide in <name>, in Texas"),
        ("write to jo.k@mail.example.org!", "write to <email>!"),
        ("name at mail dot com", "<email>"),
        ("see https://example.org/a?b=c.", "see <url>."),
        ("it is on example.com/me", "it is on <url>"),
        ("(212) 555-0147 or +44 20 7946 0991", "<phone> or <phone>"),
        ("u/some_one and @someone.else, Foo#1234", "<user> and <user>, <user>"),
        ("insta: lau_ra", "insta: <user>"),
        ("DE89 3704 0044 0532 0130 00", "<number>"),
        ("card 4111 1111 1111 1111, SSN 078-05-1120", "card <number>, SSN <number>"),
        ("from 192.168.0.17 and 2001:db8::1", "from <ip> and <ip>"),
        ("I live at 12 Main St, Apt 4, Springfield, IL 62704.", "I live at <address>."),
        ("Lange Straße 12, 10115 Berlin", "<address>"),
        ("4 rue de la Paix, 75002 Paris", "<address>"),
        ("born on 12/03/1994 in May", "born on <date_of_birth> in May"),
    ],
)
def test_what_is_masked(text: str, scrubbed: str) -> None:
    assert scrub(text)[0] == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        CRISIS_RESOURCE,
        INTENDED_USE,
        "Call 988, 911, 112 or 116 123, text 741741, see findahelpline.com.",
        "The line is 1-800-273-8255; https://988lifeline.org/ has a chat, www.samaritans.org too.",
        "I was 23 in 2014, took 50 mg at 10:30 and 12.5mg at 3 am.",
        "From 2019-2020 to 2012-05-03 it cost $1,200 and £350.",
        "r/depression and r/BPD helped, 24/7, 9/10.",
        "Will I ever find hope? May was hard, June was joy. I will mark the day.",
        "God knows. Christmas in Texas, Prozac on Monday, Reddit at night.",
        "I'm Bipolar, my wife is Muslim, we live in Austin.",
        "So I said no.then I left.it hurt",
        "We drove to San Leandro and Fort Wayne, and met in Verona.",
        "I take St. John's wort and eat at McDonalds.",
        "William Murray Secondary School was strict.",
        "<name> and <url> wrote to <email>",
        "",
        " \n\t ",
        "😀 🖤 我的名字很长",
    ],
)
def test_what_stays(text: str) -> None:
    assert scrub(text) == (text, {})


def test_a_mask_is_never_masked_again(monkeypatch) -> None:
    words = re.compile("name|told")
    monkeypatch.setitem(
        scrubbing._FINDERS, "name", lambda text: (hit.span() for hit in words.finditer(text))
    )
    assert scrub("a name, told") == ("a <name>, <name>", {"name": 2})


def test_counts_are_by_kind() -> None:
    text = "Daniel and Laura, a@example.org, 12 Main Street"
    assert scrub(text)[1] == {"email": 1, "address": 1, "name": 2}


def test_findings_are_where_the_text_has_them() -> None:
    text = "I told Daniel Petersen: mail d.p@example.org"
    found = [(hit.kind, text[hit.start : hit.end]) for hit in find_personal_data(text)]
    assert found == [("name", "Daniel Petersen"), ("email", "d.p@example.org")]


# Pieces that meet in unexpected ways, beside arbitrary text.
PIECES = st.sampled_from(
    [
        *(
            " ",
            ", ",
            ". ",
            "\n",
            "-",
            "@",
            "#",
            "/",
            "(",
            '"',
            "'s ",
            " at ",
            " dot ",
            "com",
            ".com",
            "www.",
        ),
        *(
            "my friend ",
            "I'm ",
            "Dr. ",
            "Dear ",
            "Love,\n",
            "- ",
            "born on ",
            "insta: ",
            "zip code ",
            "call ",
        ),
        *(
            "Daniel",
            "daniel",
            "Hope",
            "Xolani",
            "Petersen",
            "May",
            "Main Street",
            "Berlin",
            "u/abc",
            "IL",
        ),
        *(
            "12",
            "1994",
            "555-0147",
            "(212) ",
            "+49 30 1234567",
            "1234567",
            "03/04/1994",
            "10115",
            "::1",
            "😀",
            "ß",
        ),
        *(mask(kind) for kind in KINDS),
    ]
)
TEXTS = st.one_of(st.text(max_size=120), st.lists(PIECES, max_size=25).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once, counts = scrub(text)
    assert scrub(once) == (once, {})
    assert sum(counts.values()) == len(find_personal_data(text))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_findings_lie_within_the_text_apart_and_leave_the_rest_as_it_is(text: str) -> None:
    end = 0
    expected = ""
    for hit in find_personal_data(text):
        assert hit.kind in KINDS
        assert end <= hit.start < hit.end <= len(text)
        expected += text[end : hit.start] + mask(hit.kind)
        end = hit.end
    assert scrub(text)[0] == expected + text[end:]


@pytest.mark.parametrize(
    "text", ["1 " * 4000, "a." * 4000, "Aa " * 3000, "12 Aa " * 1500, "@" * 5000, "- " * 4000, "u/" * 4000, "0-" * 4000, "a at " * 2000, "A1" * 3000, ":" * 5000]
)  # fmt: skip
def test_no_pattern_explodes(text: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from mental_slm.privacy import scrub; scrub(sys.stdin.read())",
        ],
        input=text,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("kind", ["email", "url", "phone", "user", "number"])
def test_what_ingestion_masks_is_masked_here_too(kind: str) -> None:
    """Ingestion keeps a shorter list, so that the counts of the public corpus stay as they are."""
    for sentence in Planter().planted(kind, count=200):
        _, repairs = repair_text(scrub(sentence.text)[0])
        assert not [name for name in repairs if name.startswith("pii_")]


def test_not_all_names_of_the_measurement_are_in_the_lists() -> None:
    """Otherwise the recall of names would only say that a list contains itself."""
    from mental_slm.privacy.names import _is_given_name

    unlisted = [name for name in WORLD_NAMES if not _is_given_name(name.lower())]
    assert len(unlisted) >= 10


def test_nothing_heavy_is_loaded_before_the_first_text() -> None:
    code = "import sys, mental_slm.privacy; print(sorted({'faker', 'phonenumbers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
