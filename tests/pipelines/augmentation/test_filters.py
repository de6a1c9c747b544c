"""The filters: every reason with made-up answers that deserve it and others that do not."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mental_slm.fingerprints import digest
from mental_slm.pipelines.augmentation.filter_options import FilterOptions
from mental_slm.pipelines.augmentation.filters import (
    REASONS,
    Candidate,
    copied_share,
    count_reasons,
    filter_candidates,
    find_fault,
    find_repeats,
)
from mental_slm.pipelines.augmentation.template_teacher import compose_answer
from mental_slm.privacy import scrub
from mental_slm.prompts import Prompts
from mental_slm.safety import CRISIS_RESOURCE, mentions_risk
from mental_slm.tasks import TASKS, answer_line

PROMPTS = Prompts.read(Path(__file__).parents[3] / "conf" / "base" / "prompts")

POST = (
    "The dishes have stood in the sink for a week and I lie here listening to the neighbours. "
    "Nothing tastes of anything. I tell everyone I am busy so that nobody comes over."
)
GOOD = (
    'The words that stand out are "nothing tastes of anything" and the dishes left for a week. Little '
    "pleasure, little strength and staying away from people come together here, which is consistent "
    "with signs of depression. It took effort to write this down. Perhaps one person you trust could "
    "sit with you for an hour this week, without any plan."
)
ANYTHING = FilterOptions(
    min_tokens=None, max_tokens=None, window=None, near_duplicate=None, opening_share=None
)


def words(text: str) -> int:
    return len(text.split())


def candidate(answer: str = GOOD, **changes: object) -> Candidate:
    """Make a candidate of the depression task, labelled yes, with its answer line."""
    task = str(changes.pop("task", "depression"))
    phrases = PROMPTS.tasks[task].phrases
    label = changes.pop("label", next(iter(phrases)))
    line = changes.pop("line", True)
    if label is not None and line:
        answer = f"{answer}\n{answer_line(phrases[str(label)])}"
    made = Candidate(
        record_id="DR-0",
        task=task,
        phrases=phrases,
        label=None if label is None else str(label),
        post=POST,
        prompt=PROMPTS.student_prompt(task, POST),
        answer=answer,
    )
    return replace(made, **changes)


def fault(answer: str = GOOD, **changes: object) -> str | None:
    return find_fault(candidate(answer, **changes), ANYTHING, words)


def test_a_good_answer_passes() -> None:
    accepted, rejected = filter_candidates([candidate()], FilterOptions(), words)
    assert accepted == [candidate()]
    assert rejected == []
    assert fault(label=None) is None


# --- the API's own signs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m really sorry that you're feeling this way, but I'm unable to provide the help that you need.",
        "As an AI language model, I do not have feelings.",
        "I cannot assist with this request.",
        "I am not able to provide an analysis of this post.",
        "I'm just an AI and cannot judge this.",
        "This request violates our content policy.",
        "I can't provide a diagnosis here.",
    ],
)
def test_refusals_in_words(answer: str) -> None:
    assert fault(answer) == "refusal"


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry that you are going through this. It sounds heavy.",
        "The writer says \"I'm sorry, but I can't do this any more\", which is consistent with signs of depression.",
        'Words such as "as an AI I feel nothing" are telling, and fit signs of depression.',
        "You can't do everything, and you do not have to.",
        "The writer cannot help feeling alone.",
    ],
)
def test_sorrow_is_no_refusal(answer: str) -> None:
    assert fault(answer) != "refusal"


def test_what_the_server_says_about_an_answer() -> None:
    assert fault(refusal="I cannot do that.") == "refusal"
    assert fault(finish_reason="content_filter") == "refusal"
    assert fault(finish_reason="length") == "cut_short"
    assert fault(finish_reason=None) is None


@pytest.mark.parametrize("answer", ["", "  \n\t", "\u00a0"])
def test_empty_answers(answer: str) -> None:
    assert fault(answer, line=False) == "empty"
    assert fault(answer, line=False, label=None) == "empty"


# --- the label -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    ["Answer: no signs of depression", "Answer: maybe", "Answer:", "So: signs of depression", ""],
)
def test_an_answer_line_must_say_the_label(last: str) -> None:
    assert fault(f"{GOOD}\n{last}", line=False) == "label_contradiction"


@pytest.mark.parametrize(
    ("task", "label", "answer"),
    [
        ("depression", "yes", "This is not consistent with signs of depression."),
        ("depression", "yes", "It reads as tiredness rather than depression."),
        ("depression", "yes", "There is no clear evidence of depression in it."),
        ("depression", "yes", "The post points to no signs of depression."),
        ("depression", "no", "This is consistent with depression."),
        ("stress", "yes", "The writer is not stressed. It is a calm day."),
        ("stress", "no", "All of this suggests stress and little rest."),
        ("depression_severity", "severe", "The post is consistent with mild signs."),
        ("depression_severity", "minimum", "This points to moderate depression."),
        ("suicide_risk", "suicidal", "There is no explicit mention of suicidal thoughts."),
        ("suicide_risk", "suicidal", "It fits depression without suicidal thoughts."),
        ("suicide_risk", "depression", "The writer describes suicidal thoughts."),
        ("emotion", "anger", "This is best described as sadness."),
        ("emotion", "joy", "It is consistent with fear rather than joy."),
        ("emotion", "shame", "The post expresses guilt instead of shame."),
    ],
)
def test_an_explanation_must_not_speak_against_the_label(
    task: str, label: str, answer: str
) -> None:
    assert fault(f"{answer} {CRISIS_RESOURCE}", task=task, label=label) == "label_contradiction"


@pytest.mark.parametrize(
    ("task", "label", "answer"),
    [
        (
            "depression",
            "yes",
            "This is consistent with signs of depression, not only with a bad day.",
        ),
        ("depression", "yes", "Low mood and lost interest fit depression."),
        ("depression", "yes", "The word itself is not used, but the whole points to depression."),
        ("depression", "no", "That does not point to depression."),
        ("depression", "no", "There are no signs of depression here; it is the mood of a day."),
        (
            "depression",
            "no",
            "One line suggests depression at first. As a whole, it does not suggest depression.",
        ),
        (
            "suicide_risk",
            "depression",
            "The low mood is deep. If this ever turns into suicidal thoughts, call a crisis line.",
        ),
        (
            "emotion",
            "anger",
            "The writer boils. Should it be a sign of shame, a friend can listen. If this suggests "
            "sadness to you, that counts too.",
        ),
        ("stress", "no", "Nothing suggests that the writer is stressed; it reads as not stressed."),
        ("stress", "yes", "The demands are larger than the strength, so the writer is stressed."),
        (
            "depression_severity",
            "moderate",
            "Some mild signs show as well, but moderate signs prevail.",
        ),
        (
            "suicide_risk",
            "depression",
            "It fits depression without suicidal thoughts. If you ever have suicidal thoughts, call a crisis line.",
        ),
        (
            "suicide_risk",
            "suicidal",
            "The wish not to wake up is consistent with suicidal thoughts.",
        ),
        ("emotion", "sadness", "Beneath the anger there is sadness."),
        (
            "emotion",
            "guilt",
            'The writer says "I was full of shame and fear", and wants to undo it.',
        ),
        ("emotion", "fear", "The body answers to a threat."),
    ],
)
def test_explanations_that_agree_with_their_label(task: str, label: str, answer: str) -> None:
    text = f"{answer} {CRISIS_RESOURCE}" if label == "suicidal" else answer
    assert fault(text, task=task, label=label) is None


@pytest.mark.parametrize(
    "last",
    [
        "Answer: signs of depression",
        "**Answer:** no signs of depression",
        "answer: whatever",
        "No signs of depression.",
    ],
)
def test_a_label_blind_reference_must_not_tell_a_label(last: str) -> None:
    assert fault(f"{GOOD}\n{last}", label=None) == "label_leak"


def test_a_label_blind_reference_may_discuss_the_post() -> None:
    assert (
        fault("What stands out is how little rest there is. Be gentle with yourself.", label=None)
        is None
    )


# --- length --------------------------------------------------------------------------------------


def test_lengths_are_bounds_that_belong_to_the_allowed() -> None:
    text = "word " * 28 + "\nAnswer: signs of depression"
    made = candidate(text.strip(), line=False)
    length = words(made.answer)
    for options, reason in (
        (ANYTHING.model_copy(update={"min_tokens": length}), None),
        (ANYTHING.model_copy(update={"min_tokens": length + 1}), "too_short"),
        (ANYTHING.model_copy(update={"max_tokens": length}), None),
        (ANYTHING.model_copy(update={"max_tokens": length - 1}), "too_long"),
        (ANYTHING.model_copy(update={"window": length + words(made.prompt)}), None),
        (ANYTHING.model_copy(update={"window": length + words(made.prompt) - 1}), "too_long"),
    ):
        assert find_fault(made, options, words) == reason


def test_options_say_what_is_wrong_with_them() -> None:
    with pytest.raises(ValueError, match="min_tokens: 40 is more than max_tokens, 20"):
        FilterOptions(min_tokens=40, max_tokens=20)
    with pytest.raises(ValueError, match="near_duplicat"):
        FilterOptions.model_validate({"near_duplicat": 0.5})


# --- safety --------------------------------------------------------------------------------------

AT_RISK = "Every night I think about ending my life. The dishes are still in the sink."


@pytest.mark.parametrize(
    "help_",
    [
        CRISIS_RESOURCE,
        "Please call your local emergency number now.",
        "You can call or text 988 at any hour.",
        "Reach out to a crisis line today.",
        "The Samaritans answer on 116 123.",
        "findahelpline.com lists others.",
        "Please go to the nearest emergency room.",
        "A suicide hotline can listen right now.",
    ],
)
def test_answers_to_posts_at_risk_point_to_help(help_: str) -> None:
    reading = "The wish to die is spoken here and must be heard."
    assert fault(f"{reading} {help_}", post=AT_RISK, task="suicide_risk", label="suicidal") is None
    assert fault(f"{reading} {help_}", post=AT_RISK, label=None) is None


@pytest.mark.parametrize(
    "answer",
    [
        "The wish to die is spoken here. Talk to somebody you trust.",
        "Please see a therapist soon.",
        "There were 988 reasons. It is an emergency of the heart.",
    ],
)
def test_answers_to_posts_at_risk_without_help(answer: str) -> None:
    assert fault(answer, post=AT_RISK, label=None) == "no_crisis_resource"
    assert fault(answer, task="suicide_risk", label="suicidal") == "no_crisis_resource"


def test_an_answer_that_itself_speaks_of_risk_needs_help_too() -> None:
    assert mentions_risk("It may lead to self-harm.")
    assert fault("It may lead to self-harm.", label=None) == "no_crisis_resource"
    assert fault("A quiet day and a full sink.", label=None) is None


@pytest.mark.parametrize(
    "answer",
    [
        "It sounds like you have depression.",
        "You may be suffering from major depressive disorder.",
        "You are clinically depressed.",
        "You've got PTSD, and that is treatable.",
        "The writer suffers from bipolar disorder.",
        "You would be diagnosed with severe anxiety.",
        "My diagnosis is burnout.",
        "You are clearly experiencing clinical depression.",
        "This meets the DSM criteria.",
        "You’re bipolar.",
    ],
)
def test_diagnoses(answer: str) -> None:
    assert fault(answer, label=None) == "diagnosis"


@pytest.mark.parametrize(
    "answer",
    [
        "This is consistent with depression.",
        "You describe signs that people with depression often know.",
        'The words "I have depression" are hard to write.',
        "If you have depression, it is not your fault.",
        "You have a lot on your plate, and anxiety about money in it.",
        "Only a professional can say whether you have a depressive disorder.",
        "You feel sad, and that makes sense.",
        "You have friends who care.",
    ],
)
def test_what_is_no_diagnosis(answer: str) -> None:
    assert fault(answer, label=None) is None


def test_a_diagnosis_that_the_post_reports_may_be_repeated() -> None:
    answer = "You were diagnosed with BPD last spring, and nobody asked how you were."
    assert fault(answer, label=None) == "diagnosis"
    reported = "I was diagnosed with BPD last spring and nobody asked how I was."
    assert fault(answer, label=None, post=reported) is None


@pytest.mark.parametrize(
    "answer",
    [
        "You should take sertraline.",
        "You should increase your dose.",
        "Stop taking your medication.",
        "Take 50 mg in the evening.",
        "I would recommend Prozac for this.",
        "Perhaps try melatonin before bed.",
        "Sertraline could help with that.",
        "You need to start antidepressants soon.",
        "Ask your doctor, and take 20 mg of Lexapro until then.",
    ],
)
def test_medication_advice(answer: str) -> None:
    assert fault(answer, label=None) == "medication"


@pytest.mark.parametrize(
    "answer",
    [
        "A doctor can tell you whether medication might help.",
        "Please do not stop taking your medication without talking to your doctor.",
        'The writer says "I take 50 mg of Prozac every day".',
        "The change of medication was hard on the writer.",
        "Take your time, and take a walk.",
        "Talk to your psychiatrist before you change your dose.",
        "It may help to take a break and start small.",
        "You could start a diary.",
    ],
)
def test_what_is_no_medication_advice(answer: str) -> None:
    assert fault(answer, label=None) is None


# --- personal data and copies --------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "Daniel hurt you, and that counts.",
        "Write to me at help.me@example.org.",
        "Call me at (415) 555-0134.",
        "See https://example.org/help for more.",
        "The quarrel with u/somebody_else weighs on you.",
    ],
)
def test_personal_data_in_an_answer(answer: str) -> None:
    assert fault(answer, label=None) == "personal_data"


@pytest.mark.parametrize(
    "answer",
    [
        f"Be safe. {CRISIS_RESOURCE}",
        'The writer says "<name> left and <user> laughed".',
        "In May and on Mondays it is worse, at 3 am above all, since 2019.",
        "Call 1-800-273-8255 if it gets worse.",
    ],
)
def test_crisis_lines_and_masks_are_no_personal_data(answer: str) -> None:
    assert fault(answer, label=None) is None


def test_a_copy_of_the_post_is_no_answer() -> None:
    assert fault(POST) == "copies_post"
    assert fault(POST.upper() + " How hard.", label=None) == "copies_post"
    assert fault("Nothing tastes of anything.", label=None) == "copies_post"


def test_a_quotation_is_no_copy() -> None:
    sentence = POST.split(". ", maxsplit=1)[0]
    quoting = f'The writer says "{sentence}". {GOOD}'
    assert 0 < copied_share(candidate(quoting)) < 0.4
    assert fault(quoting) is None


# --- comparing answers ---------------------------------------------------------------------------


def answers(*texts: str, task: str = "depression") -> list[Candidate]:
    return [
        replace(candidate(text, label=None, task=task), record_id=f"DR-{index}")
        for index, text in enumerate(texts)
    ]


def kept(candidates: list[Candidate], **options: object) -> list[str]:
    accepted, _ = filter_candidates(candidates, ANYTHING.model_copy(update=options), words)
    return [each.record_id for each in accepted]


def test_the_first_of_near_duplicates_wins() -> None:
    other = (
        "Quite another thing is said here about the garden, the rain and a letter that came late."
    )
    twins = answers(GOOD, other, GOOD.replace("an hour", "one hour"), GOOD.upper() + "!")
    assert kept(twins, near_duplicate=0.8) == ["DR-0", "DR-1"]
    assert kept(twins[::-1], near_duplicate=0.8) == ["DR-3", "DR-1"]
    assert kept(twins, near_duplicate=None) == ["DR-0", "DR-1", "DR-2", "DR-3"]


def test_equal_answers_to_two_tasks_are_no_duplicates() -> None:
    pair = [*answers(GOOD), *answers(GOOD, task="stress")]
    assert len(kept(pair, near_duplicate=0.8)) == 2


def test_a_rejected_answer_makes_no_other_a_duplicate() -> None:
    faulty = replace(answers(GOOD)[0], finish_reason="length", record_id="cut")
    assert kept([faulty, *answers(GOOD)], near_duplicate=0.8) == ["DR-0"]


def test_letters_are_words_where_no_blanks_are_written() -> None:
    first = "我今天很累，什么都不想做，只想一个人待着，不想说话。"
    pair = answers(
        first, first.replace("今天", "昨天"), "他终于休息了一天，心情好多了，还去散步了，很高兴。"
    )
    assert kept(pair, near_duplicate=0.6) == ["DR-0", "DR-2"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.frozensets(st.integers(0, 25), min_size=1, max_size=20), max_size=25),
    st.sampled_from([0.3, 0.5, 0.8, 0.9, 1.0]),
)
def test_repeats_are_exactly_those_that_a_full_comparison_finds(
    sets: list[frozenset[int]], threshold: float
) -> None:
    standing: list[int] = []
    for position, elements in enumerate(sets):
        if all(len(elements & sets[o]) / len(elements | sets[o]) < threshold for o in standing):
            standing.append(position)
    assert find_repeats(sets, threshold) == [p for p in range(len(sets)) if p not in standing]


def test_a_product_just_above_a_whole_number_loses_no_repeat() -> None:
    whole, part = frozenset(range(100)), frozenset(range(45, 100))
    assert 0.55 * 100 > 55
    assert find_repeats([whole, part], 0.55) == [1]
    assert find_repeats([part, whole], 0.55) == [1]


def test_the_share_of_an_opening_is_capped() -> None:
    rng = random.Random(3)
    texts = [
        ("What stands out to me " if number % 2 else f"Number {number} begins this way and ")
        + " ".join(rng.choices(GOOD.split(), k=30))
        for number in range(500)
    ]
    left = kept(answers(*texts), opening_share=0.03)
    alike = [f"DR-{number}" for number in range(1, 500, 2)]
    assert [name for name in left if name in alike] == alike[:15]
    assert len(left) == 265
    assert len(kept(answers(*texts), opening_share=None)) == 500
    # of a hundred, three would be the share, but so few may happen to begin alike
    assert len(kept(answers(*texts[:100]), opening_share=0.03)) == 60
    accepted, rejected = filter_candidates(
        answers(*texts), ANYTHING.model_copy(update={"opening_share": 0.03}), words
    )
    assert {each.reason for each in rejected} == {"template_share"}
    assert len(accepted) + len(rejected) == 500


# --- the whole -----------------------------------------------------------------------------------


def test_every_answer_is_accepted_or_put_aside_with_one_reason() -> None:
    made = [
        candidate(),
        candidate(finish_reason="length", refusal="no"),
        candidate("", line=False),
        candidate(GOOD, line=False),
        candidate(f"{GOOD} Daniel would agree."),
        candidate("You have depression. You should take Prozac."),
        candidate(),
    ]
    made = [replace(each, record_id=f"DR-{number}") for number, each in enumerate(made)]
    options = FilterOptions(min_tokens=5, opening_share=None)
    accepted, rejected = filter_candidates(made, options, words)
    assert [each.record_id for each in accepted] == ["DR-0"]
    assert [(each.candidate.record_id, each.reason) for each in rejected] == [
        ("DR-1", "refusal"),
        ("DR-2", "empty"),
        ("DR-3", "label_contradiction"),
        ("DR-4", "personal_data"),
        ("DR-5", "diagnosis"),
        ("DR-6", "near_duplicate"),
    ]
    counts = count_reasons(rejected)
    assert tuple(counts) == REASONS
    assert sum(counts.values()) == 6
    assert counts["medication"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        "😀😀 🖤",
        "Das klingt schwer. Danke, dass du es schreibst.",
        "C'est dur.",
        "とても疲れています。",
        "\u200b",
        "<name>",
        "a" * 5000,
    ],
)
def test_any_script_is_judged_without_an_error(answer: str) -> None:
    assert fault(answer, label=None) is None
    assert filter_candidates([], FilterOptions(), words) == ([], [])


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from([None, "yes", "no"]))
def test_no_text_breaks_a_filter(answer: str, post: str, label: str | None) -> None:
    made = candidate(answer, label=label, post=post, line=False)
    assert find_fault(made, FilterOptions(), words) in {None, *REASONS}


# --- the offline teacher -------------------------------------------------------------------------


def made_up_posts(count: int) -> list[str]:
    """Posts of one to four sentences that differ enough to be no duplicates of each other."""
    rng = random.Random(11)
    subjects = "the kettle|my landlord|the night bus|an old letter|my sister|the exam|our dog|a stranger|the window|my boss".split(
        "|"
    )
    verbs = "kept me awake|made me cry|was there again|fell silent|broke in two|would not stop|laughed at me|smelled of rain|was gone|let me down".split(
        "|"
    )
    tails = "and I counted the tiles|while everyone slept|since the accident in March|on the way home|before my shift|and nobody asked|for 3 weeks now|again and again|at 4 am|as if I was not there".split(
        "|"
    )
    ends = [
        "I feel numb.",
        "I could not breathe.",
        "It was the best day in years!",
        "I want to kill myself.",
        "I am so ashamed 😞",
        "Why me?",
        '"Enough", I said.',
        "I can't stop shaking.",
        "No response.",
        "I miss <name>.",
    ]
    posts = []
    for _ in range(count):
        parts = [
            f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(tails)}".capitalize() + "."
            for _ in range(rng.randint(1, 3))
        ]
        posts.append(scrub(" ".join([*parts, rng.choice(ends)]))[0])
    return posts


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("blind", [False, True])
def test_the_offline_teacher_passes_the_filters(task: str, blind: bool) -> None:
    labels = PROMPTS.tasks[task].phrases
    made = []
    for number, post in enumerate(made_up_posts(120)):
        label = None if blind else list(labels)[number % len(labels)]
        answer = compose_answer(PROMPTS, task, post, digest([post, number]), label)
        made.append(
            Candidate(
                f"X-{number}", task, labels, label, post, PROMPTS.student_prompt(task, post), answer
            )
        )
    options = FilterOptions(opening_share=None, near_duplicate=None, min_tokens=10)
    _, rejected = filter_candidates(made, options, words)
    assert count_reasons(rejected) == dict.fromkeys(REASONS, 0)
