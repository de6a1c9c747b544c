"""Wordings in a teacher's answer that the filters look for: pure functions from text to yes or no.

All of them judge the teacher's own words, so quotations of the post are taken out first. They are
lists of patterns, and strict ones: a good answer wrongly rejected costs a pair. They know English;
an answer in another language passes them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from mental_slm.safety import CRISIS_RESOURCE
from mental_slm.tasks import ANSWER_PREFIX, normalise_phrase

_QUOTATION = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|„[^“”\n]*[“”]|(?<!\w)[‘'][^’'\n]{3,}?[’'](?!\w)"
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_MARKUP = " \t*_#>`-"

_REFUSAL = re.compile(
    r"\b(?:i['’]?m|i am)\s+(?:really\s+|very\s+|so\s+)?sorry\b[^.!?\n]{0,80}?\b(?:but"
    r"|however)\b[^.!?\n]{0,20}?"
    r"\bi\s*(?:['’]m|am|can|could|will|won)[^.!?\n]{0,12}?(?:not|n['’]?t|unable)\b"
    r"|\bas an ai\b|\b(?:i['’]?m|i am) (?:just |only )?an ai\b|\bas a(?:n ai"
    r"|n artificial)? (?:language|ai) model\b"
    r"|\bi (?:can(?:not|['’]?t)|am (?:unable|not able) to|won['’]?t|will not|must decline to)"
    r"(?:\s+\w+){0,2}\s+(?:help|assist|comply|fulfil+|engage|answer|respond|continue|discuss"
    r"|process|analy[sz]e"
    r"|generate|write|create|offer|complete)\b(?![^.!?\n]{0,30}\b(?:everything|all of it)\b)"
    r"|\b(?:i['’]?m|i am) (?:unable|not able) to (?:help|assist|comply|provide|fulfil+|engage"
    r"|answer|respond|continue)"
    r"|\bi can(?:not|['’]?t) provide (?:the|any|that|this|a|an|you|support|medical|help|content"
    r"|diagnos)"
    r"|\bviolates? (?:our|my|the) (?:content |usage )?(?:policy|policies|guidelines)",
    re.IGNORECASE,
)

_CRISIS_HELP = re.compile(
    r"\b(?:crisis|suicide|emergency|distress)[\s-]+(?:(?:prevention|text|support)[\s-]+)?(?:life"
    r"|hot|help)?-?"
    r"(?:line|lifeline|hotline|helpline|number|services?|room|department|resources?|cent(?:er|re)"
    r"|chat|team)s?\b"
    r"|\b(?:hot|help|life)-?lines?\b|\bsamaritans\b|\bfindahelpline\b|\bbefrienders\b"
    r"|\btelefonseelsorge\b"
    r"|\b(?:call|dial|text|ring|phone|reach|contact)\b[^.!?\n]{0,40}\b(?:988|911|999|112|000"
    r"|116\s?123|741741|85258)\b"
    r"|\b(?:go to|visit)\b[^.!?\n]{0,30}\b(?:emergency|a&e|the er)\b"
    r"|\b(?:call|contact)\b[^.!?\n]{0,30}\b(?:emergency|an ambulance)\b",
    re.IGNORECASE,
)

_DISORDER = (
    r"(?:(?:major|clinical|chronic|severe|mild|moderate|manic|postpartum|persistent"
    r"|generali[sz]ed|social"
    r"|complex|undiagnosed|untreated|real|serious)\s+)*"
    r"(?:depression|depressive\s+(?:disorder|episode)|anxiety(?:\s+disorder)?"
    r"|bipolar(?:\s+disorder)?|ptsd"
    r"|c-?ptsd|post-?\s?traumatic\s+stress(?:\s+disorder)?|ocd"
    r"|obsessive[\s-]compulsive\s+disorder|adhd|add\b|bpd"
    r"|borderline(?:\s+personality)?(?:\s+disorder)?|schizophrenia|psychosis"
    r"|(?:an\s+)?eating\s+disorder|anorexia"
    r"|bulimia|autism|asperger\w*|panic\s+disorder|dysthymia|mdd|gad|personality\s+disorder"
    r"|mood\s+disorder"
    r"|anxiety\s+disorder|mental\s+(?:illness|disorder)|an?\s+addiction)"
)
_WRITER = (
    r"(?:you|the\s+(?:writer|author|poster|person|user|patient|individual)"
    r"|this\s+(?:writer|person|patient))"
)
_DIAGNOSIS = re.compile(
    rf"\b{_WRITER}\s+(?:(?:may|might|could|must|probably|likely|clearly|definitely|certainly|seem"
    rf"|seems|appear|appears|do|does"
    r"|most|very|also|to|be)\s+)*(?:have|has|had|got|ha(?:ve|s)\s+got|suffer(?:s|ing)?\s+from"
    r"|(?:are|is|be)\s+(?:\w+\s+)?suffering\s+from"
    rf"|(?:are|is)\s+(?:\w+\s+)?(?:experiencing|living\s+with|struggling\s+with"
    rf"|dealing\s+with))\s+(?:an?\s+|some\s+form\s+of\s+|a\s+form\s+of\s+)?{_DISORDER}\b"
    rf"|\byou['’]ve\s+(?:got\s+)?{_DISORDER}\b"
    rf"|\b{_WRITER}(?:['’]re|\s+(?:are|is|must\s+be|seems?\s+to\s+be"
    rf"|appears?\s+to\s+be))\s+(?:\w+ly\s+)?(?:bipolar|schizophrenic|psychotic|autistic"
    rf"|mentally\s+ill|clinically\s+depressed|anorexic|bulimic|depressed)\b"
    r"|\bdiagnos(?:ed\s+with|e\s+you|e\s+is\b|is\s+is\b|is\s+(?:of|for|here)\b|is:)|\b(?:my|your"
    r"|the)\s+diagnosis\b"
    rf"|\b(?:this|it)\s+is\s+(?:clearly|definitely|certainly|clinical)\s+(?:an?\s+)?{_DISORDER}"
    r"|\bmeets?\s+(?:the\s+)?(?:dsm|icd|diagnostic|clinical)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:if|whether|when|in case|unless)\b[^,;]*$", re.IGNORECASE)

_DRUG = (
    r"(?:sertraline|zoloft|fluoxetine|prozac|citalopram|celexa|escitalopram|lexapro|paroxetine"
    r"|paxil|venlafaxine"
    r"|effexor|duloxetine|cymbalta|bupropion|wellbutrin|mirtazapine|remeron|trazodone"
    r"|amitriptyline|clomipramine"
    r"|lithium|lamotrigine|lamictal|valproate|depakote|quetiapine|seroquel|olanzapine|zyprexa"
    r"|aripiprazole|abilify"
    r"|risperidone|risperdal|clozapine|haloperidol|alprazolam|xanax|lorazepam|ativan|diazepam"
    r"|valium|clonazepam"
    r"|klonopin|zolpidem|ambien|buspirone|buspar|propranolol|hydroxyzine|methylphenidate|ritalin"
    r"|concerta|adderall"
    r"|lisdexamfetamine|vyvanse|strattera|atomoxetine|ketamine|melatonin|gabapentin|pregabalin"
    r"|lyrica|st\.?\s?john['’]?s\s?wort"
    r"|benadryl|ibuprofen|paracetamol|tylenol|psilocybin|cbd)"
)
_MEDICINE = (
    rf"(?:{_DRUG}|(?:an?\s+|some\s+|your\s+|the\s+|any\s+)?(?:anti-?depressants?|ssris?|snris?|benzos?"
    r"|benzodiazepines?|medications?|medicines?|meds|pills?|tablets?|sedatives?"
    r"|mood\s+stabili[sz]ers?|antipsychotics?|sleeping\s+(?:pills?|aids?)))"
)
_TAKE = (
    r"(?:take|taking|start|starting|stop|stopping|increase|increasing|decrease|decreasing|reduce"
    r"|reducing|double"
    r"|doubling|halve|halving|lower|lowering|raise|raising|adjust|adjusting|skip|skipping|quit"
    r"|quitting|taper|tapering"
    r"|switch(?:ing)?\s+to|try|trying|use|using|get\s+on|going\s+on|go\s+on|come\s+off"
    r"|coming\s+off)"
)
_MEDICATION = re.compile(
    rf"\b(?:you|writer|author|poster|person|they|he|she|patient)\s+(?:\w+\s+)?(?:should|must"
    rf"|need\s+to|needs\s+to|ought\s+to|have\s+to|has\s+to|could|can|may\s+want\s+to"
    rf"|might\s+want\s+to)\s+(?:\w+\s+){{0,3}}?{_TAKE}\b[^.!?;\n]{{0,40}}?\b(?:{_MEDICINE}"
    rf"|(?:your|the|a)\s+(?:\w+\s+)?(?:dose|dosage)|\d+\s?mg)\b"
    rf"|(?:^|[.!?:;]\s+|\n\s*|\b(?:please|also|then|and|or|to|recommend|suggest|advise|consider"
    rf"|try)\s+){_TAKE}\s+(?:\w+\s+){{0,2}}?(?:{_MEDICINE}|(?:your|the|a)\s+(?:\w+\s+)?(?:dose"
    rf"|dosage)|\d+\s?mg)\b"
    rf"|\b(?:recommend|suggest|advise|prescribe|consider|try)(?:ed|ing"
    rf"|s)?\s+(?:you\s+)?(?:\w+\s+){{0,2}}?(?:{_DRUG}|\d+\s?mg|(?:an?\s+)?(?:anti-?depressant"
    rf"|ssri|sleeping\s+pill|sedative)s?)\b"
    rf"|\b{_DRUG}\s+(?:would|will|could|can|might|may)\s+(?:\w+\s+)?help\b"
    rf"|\b\d+\s?mg\s+(?:of\s+{_DRUG}|(?:once|twice|per|a|every|each)\b)",
    re.IGNORECASE,
)
_SAFE_MEDICATION = re.compile(
    r"\b(?:doctor|psychiatrist|physician|gp|pharmacist|prescriber|clinician|professional|provider"
    r"|therapist|nurse)s?\b"
    r"|\bas\s+prescribed\b",
    re.IGNORECASE,
)
_NEGATED_START = re.compile(
    r"\b(?:not|n['’]t|never|without|before|instead of|rather than)\b[^,;.]*$", re.IGNORECASE
)
_SPECIFIC = re.compile(rf"\b(?:{_DRUG}|\d+\s?mg)\b", re.IGNORECASE)


def own_words(answer: str) -> str:
    """Return an answer without its quotations and without the line that carries the label."""
    lines = [line for line in answer.splitlines() if not is_answer_line(line)]
    return _QUOTATION.sub(" ", "\n".join(lines))


def is_answer_line(line: str) -> bool:
    """Tell whether a line states the label."""
    return line.lstrip(_MARKUP).lower().startswith(ANSWER_PREFIX.lower())


def refuses(words: str) -> bool:
    """Tell whether the teacher declined in its own words ("I'm sorry, but I can't ...")."""
    return _REFUSAL.search(words) is not None


def offers_crisis_help(answer: str) -> bool:
    """Tell whether an answer points to a crisis line, an emergency number or emergency help."""
    return CRISIS_RESOURCE in answer or _CRISIS_HELP.search(answer) is not None


def diagnoses(words: str, post: str) -> bool:
    """Tell whether the writer is told that they have a disorder.

    "Consistent with depression" and "if you have depression" are no diagnoses, and neither is it to
    repeat one that the post itself reports.
    """
    reported = "diagnos" in post.lower()
    for sentence in _SENTENCE.split(words):
        for match in _DIAGNOSIS.finditer(sentence):
            if _CONDITION.search(sentence[: match.start()]):
                continue
            if not (reported and "diagnos" in match[0].lower()):
                return True
    return False


def advises_medication(words: str) -> bool:
    """Tell whether the writer is told to take, change or stop a medicine.

    To name a doctor as the one to talk to about medication is fine, and so is "do not stop it on
    your own"; a named drug or dose to take is not, whoever is named beside it.
    """
    for sentence in _SENTENCE.split(words):
        for match in _MEDICATION.finditer(sentence):
            if _NEGATED_START.search(sentence[: match.start()]) or _NEGATED_START.search(match[0]):
                continue
            if _SPECIFIC.search(match[0]) or not _SAFE_MEDICATION.search(sentence):
                return True
    return False


# --- what an answer says about the labels --------------------------------------------------------

_NEGATION = re.compile(
    r"\b(?:not|no|never|without|neither|nor|cannot|rather\s+than|instead\s+of|as\s+opposed\s+to"
    r"|lacks?|lacking"
    r"|absence\s+of|lack\s+of|little|hardly|unlikely)\b(?!\s+(?:only|just|merely|simply"
    r"|necessarily))|n['’]t\b(?!\s+(?:only|just|merely|simply))",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"(?:\b(?:rather\s+than|instead\s+of|as\s+opposed\s+to)"
    r"|\b(?:is|are|was|does|do|did|would|could)(?:\s+not"
    r"|n['’]t)(?:\s+\w+){0,2}?(?:\s+(?:consistent\s+with|in\s+line\s+with|indicat\w*|suggest\w*"
    r"|point\w*\s+to|show\w*|support\w*"
    r"|reflect\w*|express\w*|describ\w*|fit\w*|convey\w*|reveal\w*|mention\w*|contain\w*))?"
    r"|\bno\s+(?:\w+\s+){0,2}(?:evidence|signs?|indications?|mention|hints?|trace|expression)\s+of"
    r"|\bnot\s+(?:enough\s+)?(?:evidence\s+of|consistent\s+with)|\b(?:lack|absence)\s+of)"
    r"(?:\s+(?:any|the|an?|real|clear|explicit|direct|strong|active|actual|immediate|true"
    r"|signs?\s+of))*\s*$",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r"\b(?:consistent\s+with|in\s+line\s+with|indicat\w*|suggest\w*|point\w*\s+to(?:wards?)?"
    r"|reflect\w*|fits?|signals?"
    r"|best\s+described\s+as|reads?\s+as|classif\w*\s+as|label\w*\s+as|evidence\s+of"
    r"|emotion\s+(?:here\s+)?is|expression\s+of|a\s+case\s+of"
    r"|describes|expresses|conveys|speaks?\s+of)"
    r"(?:\s+(?:an?|the|of|clear|strong|deep|some|feelings?|signs?|sense|being|active|current"
    r"|emotion|more|primarily|mainly|mostly))*\s*$",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|should\s+you|whether|in\s+case|when(?:ever)?)\b[^,;]*$", re.IGNORECASE
)
_FILLERS = frozenset(
    "signs sign of any a an the thoughts thought feelings feeling symptoms".split()
)
_NEGATING = frozenset("no not without never".split())


def contradicts(phrases: Mapping[str, str], label: str, words: str) -> bool:
    """Tell whether the explanation clearly speaks against its label.

    That is so where it denies the label ("not consistent with ...", "rather than ...") and never
    affirms it, or where it claims another label and never names its own.

    Args:
        phrases: Label to the phrase that stands for it.
        label: The gold label.
        words: The answer in the teacher's own words.
    """
    affirmed, denied, claimed = set(), set(), set()
    pattern, forms = _forms(tuple(phrases.items()))
    for sentence in _SENTENCE.split(words):
        for match in pattern.finditer(sentence):
            before = sentence[max(0, match.start() - 90) : match.start()]
            if _SUPPOSED.search(before):
                continue
            named = forms[str(match.lastgroup)]
            if _DENIAL.search(before):
                denied.add(named)
            elif not _NEGATION.search(before):
                affirmed.add(named)
                if _CLAIM.search(before):
                    claimed.add(named)
    opposite = {"yes": "no", "no": "yes"}.get(label)
    if opposite in denied:  # "no sign of it" is how the label "no" is said
        affirmed.add(label)
    if label in affirmed:
        return False
    return label in denied or opposite in affirmed or bool(claimed)


@lru_cache(maxsize=64)
def _forms(phrases: tuple[tuple[str, str], ...]) -> tuple["re.Pattern[str]", dict[str, str]]:
    """Return a pattern of the ways to say each label, longest first, and each group's label."""
    spoken = sorted(
        ((form, label) for label, phrase in phrases for form in _ways_to_say(phrase)),
        key=lambda pair: -len(pair[0]),
    )
    groups = {f"form{index}": label for index, (_, label) in enumerate(spoken)}
    alternatives = (f"(?P<form{index}>{form})" for index, (form, _) in enumerate(spoken))
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE), groups


def _ways_to_say(phrase: str) -> list[str]:
    """Return patterns for a phrase: itself and, where one word carries it, that word."""
    words = normalise_phrase(phrase).split()
    forms = [r"\s+".join(map(re.escape, words))]
    content = [word for word in words if word not in _FILLERS]
    if len(content) != 1 or _NEGATING & set(words):
        return forms
    word = re.escape(content[0])
    if words[-1] == "signs":  # "mild" alone says too little
        return [*forms, rf"{word}\s+(?:signs?|symptoms?|depression|indicators?|level)"]
    if word.endswith("ed"):
        return [*forms, word, rf"under\s+{word[:-2]}", word[:-2]]
    return [*forms, word]
