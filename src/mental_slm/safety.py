"""What the project says about risk: a detector, crisis resources and the intended use.

Evaluation, the exported bundle and the notebook's chat share these words. The detector is a plain
list of patterns: it is meant to fire too often rather than too rarely (denials and worry about
somebody else make it fire too) and is no medical device. It knows English well and the core phrases
of a few other languages.

A text is read in three steps that any program can repeat, for they are data: put it into Unicode
form NFKD, replace every match of :data:`RISK_SUBSTITUTIONS` in order, search for
:data:`RISK_PATTERN`; case never counts.
"""

import re
import unicodedata
from collections.abc import Sequence

INTENDED_USE = (
    "Research on language models for mental-health text. Not a diagnosis, not a treatment, "
    "not a crisis service; do not put it in front of people in distress without clinical oversight."
)

#: The key of the resource that is meant for readers anywhere.
INTERNATIONAL = "international"

_STAY_SAFE = (
    "Until help is there, stay with somebody and keep away from anything you could hurt yourself "
    "with."
)


def _lines(numbers: str) -> str:
    return (
        "If you might act on thoughts of suicide, call your local emergency number now, or a "
        f"crisis line ({numbers}). {_STAY_SAFE}"
    )


#: Country (ISO 3166 code) to its lines, written down in November 2026. BR, ES, FR and PT were looked
#: up in press and official reports; for the others the line's own site is named but was not visited.
#: Numbers change: check all of them before a release.
CRISIS_RESOURCES: dict[str, str] = {
    INTERNATIONAL: _lines(
        "988 in the US and Canada, 116 123 in the UK, 112 in the EU; findahelpline.com lists others"
    ),
    "AU": _lines("Lifeline, 13 11 14; emergencies 000"),  # lifeline.org.au
    "BR": _lines("CVV, 188; emergencies 192"),  # cvv.org.br, free nationwide since July 2018
    "CA": _lines("call or text 988; emergencies 911"),  # 988.ca, since November 2023
    "DE": _lines(
        "TelefonSeelsorge, 0800 111 0 111 or 116 123; emergencies 112"
    ),  # telefonseelsorge.de
    "ES": _lines("024, Línea de atención a la conducta suicida; emergencies 112"),  # since May 2022
    "FR": _lines(
        "3114, Numéro national de prévention du suicide; emergencies 15 or 112"
    ),  # 3114.fr
    "GB": _lines("Samaritans, 116 123; emergencies 999"),  # samaritans.org
    "IE": _lines("Samaritans, 116 123; emergencies 112"),  # samaritans.org
    "PL": _lines("116 123, for the young 116 111; emergencies 112"),  # 116sos.pl, 116111.pl
    "PT": _lines("1411; emergencies 112"),  # sns24.gov.pt, since September 2025
    "US": _lines("call or text 988; emergencies 911"),  # 988lifeline.org
}

CRISIS_RESOURCE = CRISIS_RESOURCES[INTERNATIONAL]

# --- reading a text: disguises are undone, figures of speech taken out --------------------------

_IN_WORD = r"(?<=[a-z]){}(?=[a-z])"

#: (regular expression, plain replacement), applied in order, case aside, after NFKD.
RISK_SUBSTITUTIONS: tuple[tuple[str, str], ...] = (
    ("[\u0300-\u036f\u00ad\u200b-\u200f\u2060-\u2064\ufeff]", ""),  # accents, invisible signs
    ("[\u2018\u2019\u201b\u02bc\u2032`]", "'"),
    (r"\s+", " "),
    (_IN_WORD.format(r"[1!|*]"), "i"),
    (_IN_WORD.format("0"), "o"),
    (_IN_WORD.format("3"), "e"),
    (_IN_WORD.format("[4@]"), "a"),
    (_IN_WORD.format(r"[5$]"), "s"),
    # dying of laughter, want to die of shame, an overdose of sugar
    (
        r"\b(?:d(?:ie[sd]?|ying|ead)|overdos\w+) (?:of|from|with|on)"
        r" (?:laugh\w+|embarrass\w+|shame|boredom|curiosity|hunger|thirst|heat|cold|cringe|envy"
        r"|jealousy|happiness|joy|cuteness|sugar|coffee|chocolate|caffeine|carbs|netflix)\b",
        " ",
    ),
    (r"\bdie laughing\b|\bto die for\b|\bkill(?:ing|ed)? my ?self laughing\b", " "),
    (r"\b(?:shoot(?:ing)?|shot) (?:my|your|him|her|our|them)sel(?:f|ves) in the foot\b", " "),
    (r"\bhang(?:ing)? myself out to dry\b", " "),
    (r"\bdrown(?:ing)? my ?self in (?:work|music|food|ice cream|chocolate|books|tv)\b", " "),
    (r"\b(?:political|career|commercial|financial|social|electoral) suicide\b", " "),
    (r"\bsuicide (?:squad|sprints?|doors?|king)\b", " "),
    (r"\b(?:burn\w*|cut\w*) my ?self (?:out|off|some slack|a (?:break|slice|piece))\b", " "),
    # me muero de risa, morrer de fome, mourir de faim, mich totlachen
    (
        r"\bm(?:o|ue|ou)r\w* de (?:risa|hambre|verg\w+|miedo|sueno|calor|frio|ganas|sed|amor|rir"
        r"|fome|saudades?|medo|rire|faim|honte|soif|fatigue|peur|froid|chaud|sommeil)\b",
        " ",
    ),
)

# --- what speaks of risk ----------------------------------------------------------------------------

_NOT = r"(?:do not|don ?'? ?t|does not|doesn ?'? ?t|did not|didn ?'? ?t|never|no longer|not)"
_SELF = (
    r"(?:my ?s[el]{2}f|my ?slef|him ?self|her ?self|them ?sel(?:f|ves)|(?:yo)?ur ?self|one ?self)"
)
_WHOSE = r"(?:my|his|her|their|your|one'?s)"
_WANT = (
    r"(?:w(?:an|na)t(?:s|ed|ing)?|wan(?:na|ted)|wish(?:es|ed)?|hop(?:e|es|ed|ing)|need(?:s|ed)?"
    r"|prefer|decided|tr(?:y|ies|ied|ying)|plan(?:s|ned|ning)?|ready|intend(?:s|ed)?|deserve[sd]?"
    r"|long(?:ed|ing)?|meant|prepared|tells? me|told me|rather)"
)
#: With whom or where one does not want to live says nothing about life.
_LIVE = (
    r"(?:live(?! (?:in|with|at|near|there|together|apart|by|off|alone|far|next)\b)|exist(?:ing)?"
    r"|living(?! (?:in|with|at|room))"
    r"|wake(?! (?:up )?(?:early|at|before|my|the|him|her|them|late|to|you)\b)(?: up)?|be alive"
    r"|(?:be (?:here|around)|go on|carry on|keep going|continue) any ?more|be (?:on|in) this (?:earth|world|planet))"
)
_DEVICES = r"(?:pills?|tablets?|painkillers?|meds|medication|gun|rifle|pistol|knife|knives|blade|razor\w*|rope|noose)"

#: By subject; each matches whole words of a text that was put in order as above.
_PATTERNS: dict[str, Sequence[str]] = {
    "suicide": (
        r"s\W?[ui]\W?i?\W?c\W?i\W?d[a-z]*(?:\W[a-z](?![a-z]))*",
        r"sewer ?slid\w*|self ?-?delet\w*|un ?-?aliv(?:e|ed|ing)",
        r"(?<!\d)(?<!\d )(?<!few )(?<!many )(?<!some )k\.?m\.?s|kys",
        rf"k\W?i+\W?l+(?:ing|in|ed|s)? {_SELF}",
        rf"(?:hang|hung|hanged|hanging|shoot|shot|shooting|drown\w*|neck(?:ing)?|gas(?:sing)?|poison\w*"
        rf"|starv\w+|strangl\w+|suffocat\w+) {_SELF}(?! (?:with|from|at|off|into)\b)",
        rf"(?:to|gonna|just|about|will|of|i'?ll) (?:off|neck) {_SELF}|offing {_SELF}",
        rf"(?:end|ending|ended|ends|take|taking|took|takes) {_WHOSE} (?:own )?(?:fucking )?li(?:fe|ves)"
        r"(?! (?:back|over|in(?:to)?|to the|seriously|for granted)\b)",
        r"(?:end|ending) (?:it all|everything|it (?:tonight|today|now|soon|here|already|myself))"
        r"|it (?:all )?ends (?:tonight|today|tomorrow|here)|i (?:will |'ll )?end it(?! with\b)(?= ?[.!,]|$)",
        rf"put(?:ting)? an end to (?:it|it all|everything|{_WHOSE} (?:life|suffering|misery|pain))",
        rf"(?:by|with) {_WHOSE} own hands?|go(?:ing)? through with (?:it|this) (?:and|tonight|this time)",
    ),
    "death": (
        rf"{_WANT} (?:to|2|i (?:could|would|can)) (?:just |simply |really |only |finally )*(?:die|be (?:dead|gone))",
        r"(?:i am|i ?'?m|im) (?:going to|gonna|about to) (?:die (?:tonight|today|soon)|be dead)",
        r"(?:i ?'?d|i would) rather (?:just )?(?:die|be dead)(?! than (?:wear|eat|watch|listen|admit)\b)",
        r"wish(?:es|ed|ing)? (?:that )?(?:i|he|she|they) (?:was|were|am|is|be|had)(?: just| already| only)?"
        r" (?:dead|gone|never (?:been )?(?:born|alive)|not (?:born|alive|here)|no longer (?:here|alive))",
        r"(?:if|had|wish|wasn ?'? ?t|were) (?:i )?(?:had |was |were )?never (?:been )?(?:born|alive|existed)",
        r"better (?:off )?(?:dead|without me|if i (?:was|were|am|had)(?:n ?'? ?t| not| never| dead| gone))",
        r"(?:happier|easier|relieved) (?:if i (?:was|were) (?:dead|gone|not (?:here|there))|without me)",
        r"(?:i ?'?ll|i will|i would|i ?'?d) (?:soon |finally )?be (?:dead|gone (?:for good|forever|by then)|no more)",
        r"(?:after|once|when|until|with) (?:i ?'?m|i am|me|my being) (?:dead|gone for good)",
        r"(?:being|be|bring about|imagin\w+|pictur\w+|thought of) (?:my own |my )?(?:dead|death|own death)",
        r"(?<!fear )(?<!afraid )(?<!scared )(?<!terrified )(?:about|of|for|with|by) (?:my own |my )?(?:death|dying)(?! (?:of|penalty|metal|rate|row|in the family))(?= (?:all|every|a lot|again|myself|constantly|daily|more|by|would|is|as)|[.,!?]|$)",
        r"(?:should|would|could|deserve|supposed) (?:not |n ?'? ?t )?(?:to )?(?:be alive|exist|live any ?more)",
        r"dying is (?:the|my|a|an) (?:\w+ )?(?:right|only|best|good|answer|option|choice|way)",
        r"(?:ways?|how|methods?|time|place|day|want|order) to (?:painlessly |quickly )?die",
        r"painless(?:ly)? (?:way|death|die|method)|die painlessly|(?:quick\w*|certain|sure|easiest|best) (?:way|method) (?:to|of) (?:die|dying|go)",
        r"lethal|how (?:much|many) .{0,40}(?:would|does|to|will) (?:it )?(?:take to )?(?:kill me|die|not wake)",
        r"(?:sleep|asleep) forever|sleep .{0,25}(?:never|not|n't) (?:ever )?wak(?:e|ing)(?: up)?",
    ),
    "life": (
        rf"{_NOT} (?:really |even |actually |just )?(?:w(?:an|na)t|wanna|wants|wanted|wish|care)(?: to)? {_LIVE}",
        rf"(?:{_NOT}|n ?'? ?t) (?:have to )?(?:ever )?wak(?:e|ing) up(?: again| any ?more| ever| tomorrow|[.,!?]|$)",
        r"(?:will not|won ?'? ?t|would not|wouldn ?'? ?t|might not|may not|not|never) be here (?:any ?more|any longer|tomorrow|next)",
        r"(?:not|n ?'? ?t) (?:want to )?be (?:here|around|alive) any ?(?:more|longer)",
        r"(?:no|any|a|one|another|only) (?:reason|point|sense|purpose|will)s? (?:to|in|for|of) (?:live|living|go on|going on|being alive|exist\w*|stay alive|keep going|continuing)",
        r"(?:nothing|no one|nobody) (?:left )?to live for|life (?:is|isn ?'? ?t|is not|'s not) ?(?:not |no longer )?worth (?:living|it)",
        r"(?:tired|sick|done|finished) (?:of|with) (?:living|being alive|life|existing|existence)",
        r"(?:can ?'? ?t|cannot|can not) (?:live|exist|go on living|keep living|stay alive)(?: like this)? ?(?:any ?more|any longer|another)",
        r"giv(?:e|en|ing) up on (?:life|living)|(?:stop|cease) (?:existing|to exist|living|being alive)|disappear forever",
        r"be(?:ing)? alive (?:is|feels|any ?more|any longer)",
        r"(?:do(?:n ?'? ?t| not)|won ?'? ?t|will not|not) (?:plan to |want to |intend to |going to )?(?:survive|live to see|see (?:tomorrow|the morning|another (?:day|year|birthday)))",
    ),
    "harm": (
        r"self[ -]?(?:harm|injur|mutilat|hurt)\w*",
        rf"(?:hurt|harm|injur|mutilat|punish|stab|slash|maim)(?:ing|e|ed|s|es)? {_SELF}",
        rf"(?:cut|burn|scratch)(?:ting|ing|s|ed|t)? {_SELF}"
        r"(?! (?:shaving|cooking|on (?:a|the)|while|when i was|short|loose|free|in the kitchen|from|up)\b)",
        rf"(?:cut|cutting|slit|slitting|slash\w*|burn|burning|burnt|carv\w+) (?:up )?{_WHOSE}"
        r" (?:own )?(?:wrists?|arms?|thighs?|legs?|skin|veins?|throat)",
        rf"(?:hurt|harm|injur)\w* {_WHOSE} own body",
        r"(?:start\w*|been|back to|kept|keep|stop\w*|relaps\w+ (?:in ?to|with)) cutting"
        r"(?= (?:again|this|every|since|at|and|myself|because|when)|[.,!?]|$)",
        rf"(?:do|did|use|using) (?:it |them |that )?(?:to|on) {_SELF}",
        r"overdos\w*|(?:o\.?d\.?|od'?(?:d|ed|ing)) on (?:my |some |the )?\w+",
        rf"(?:took|taken|take|taking|swallow\w*|down(?:ed|ing)) (?:\w+ ){{0,5}}(?:all|whole|bunch|handful|bottle|too many|lot)"
        rf" (?:\w+ ){{0,3}}{_DEVICES}",
        rf"{_DEVICES}.{{0,40}}(?:be enough|make it (?:all )?stop|in my hand|to my (?:head|temple|wrist|throat)|loaded)",
        r"(?:enough|buy|bought|got|get|find|collect\w*|hoard\w*|stock\w*|sav(?:ed|ing)) (?:\w+ ){0,3}(?:gun|noose|rope|pills to)",
        r"noose|(?:rope|noose) is (?:up|ready|tied)|loaded gun|gun (?:is )?loaded",
    ),
    "place": (
        r"jump(?:ing|ed)? (?:off|from|in front of|out of) (?:of )?(?:(?:a|an|the|this|my|that) )?(?:\w+ )?(?:bridge|roof\w*|building|balcony|train|"
        r"bus|car|traffic|truck|window|cliff|tracks?|subway|metro|platform)",
        r"(?:step|walk|throw\w*|run)(?:ping|ing)? (?:my ?self )?(?:in front of|into) (?:(?:a|an|the|oncoming|moving) )?(?:train|traffic|truck|bus|car)",
        r"(?:driv|crash|steer|ram)(?:e|ing) (?:my |the )?(?:car |it )?(?:into|off) (?:(?:a|the|this) )?(?:wall|tree|bridge|cliff|river|lake|oncoming|truck|pole)",
        r"(?:wish|hope|hoping|relie\w+|glad|if).{0,40}(?:truck|bus|car|train|lorry)(?: would| could)? (?:just )?(?:hit|ran|run|kill)(?:s)? (?:over )?me",
        r"(?:reason|going|gonna|about|want|wanna|decided|ready)(?: not)?(?: to)? jump(?=[.,!?]| (?:now|tonight|today|off)|$)",
        r"(?:edge|ledge|top) of (?:the|a|this) (?:roof|bridge|cliff|building)|(?:on|at|off) (?:the|a|this) bridge(?: right)? now",
    ),
    "plan": (
        r"goodbye (?:letter|note|message|video)s?|(?:say(?:ing)?|said) (?:my |our |final )?goodbyes?(?: to (?:everyone|everybody|the world|somebody|someone))",
        r"(?:this is|tonight is|today is|be) (?:my|our) last (?:message|night|day|words|post|goodbye)",
        r"(?:night|day|time|place|date) (?:that |when |on which )?i(?: will| 'll|'ll| am going to)? (?:end|finish|do) (?:it|this|everything)",
        r"(?:keep|feel) (?:my ?self |me )?safe (?:from my ?self|any ?more|tonight|any longer)|not safe (?:with|around|from) my ?self",
        r"(?:act(?:ing)?|acted) on (?:these|those|my|the) (?:dark )?(?:thoughts|urges|feelings|plans?)",
        r"(?:tonight|today|tomorrow|this time) (?:i will |i'?ll |i'?m going to |i am going to )(?:finish|end) (?:it|this|everything)",
        r"(?:written|wrote|writing|finished) (?:the|my|a|all the) (?:goodbye |farewell |last )?(?:letters?|note)\b.{0,60}(?:day|gone|goodbye|will)",
    ),
    "es": (
        r"(?:quiero|queria|quisiera|deseo|prefiero|ganas de|pienso en|gustaria|voy a|pensando en) (?:ya )?(?:morir(?:me)?|matarme|estar muert[oa]|desaparecer para siempre)",
        r"(?:me (?:quiero|voy a|quisiera)) (?:morir|matar|suicidar)|quitar(?:me)? la vida|acabar con (?:mi vida|todo)",
        r"(?:ya )?no (?:quiero|tengo ganas de|deseo) (?:seguir )?(?:vivir|viviendo|existir|despertar(?:me)?)",
        r"(?:ojala|quisiera) (?:no |nunca )?(?:me )?(?:despert\w+|muri\w+|estuviera muert[oa]|haber nacido)",
        r"hacerme dano|cortarme|me corto (?:los|las)|autolesi\w+|mejor (?:muert[oa]|sin mi)",
    ),
    "de": (
        r"selbstm[oö]rd\w*|selbstmord\w*|suizid\w*|freitod|selbst ?verletz\w*|lebensmude|zelfmoord|zelfdoding",
        r"(?:mich|sich|mir|dich) (?:selbst |selber )?(?:umbring\w*|um ?zu ?bringen|umzubringen|toten|erhang\w*|aufhang\w*|erschie\w+|ritz\w+|schneid\w+ zu)",
        r"bring\w* (?:ich )?mich um|ritz\w* (?:ich )?mich|(?:mir|sich) (?:das|mein) leben (?:zu )?nehm\w*|mir (?:et)?was an(?:zu)?tun|mein\w* leben (?:ein ende|beenden)",
        r"(?:nicht mehr|nie mehr|nie wieder|nicht) (?:leben|auf(?:zu)?wachen|weiterleben|weiter leben|existieren|am leben sein|da sein) (?:will|wollte|mo(?:e)?chte|kann|mag)",
        r"(?:will|wollte|mo(?:e)?chte|mag|kann) (?:einfach |so )?(?:nicht mehr|nie mehr|nie wieder) (?:leben|aufwachen|weiterleben|existieren|da sein|am leben sein)",
        r"(?:will|wollte|mo(?:e)?chte|wurde (?:gern|lieber)\w*) (?:einfach |nur |noch |am liebsten |lieber )*(?:sterben|tot sein)|ware ich (?:doch |nur |lieber )*tot|ich ware (?:lieber )?tot|besser (?:dran )?ohne mich|ohne mich besser",
    ),
    "fr": (
        r"(?:envie|veux|voudrais|souhaite|prefere\w*|pense a|rever? de) (?:de )?(?:mourir|me tuer|etre morte?|disparaitre pour toujours)",
        r"(?:vais|veux|voudrais|envie de|pense a|essaye de) me (?:tuer|pendre|suicider|foutre en l'air|faire du mal|mutiler)|m'ouvrir les veines",
        r"(?:veux|voudrais|souhaite|envie de|ai) (?:de )?plus (?:envie de |de raison de )?(?:vivre|exister|me reveiller|etre (?:la|en vie))",
        r"en finir avec (?:la|ma|cette) vie|envie d'en finir|mettre fin a (?:mes jours|ma vie)|mieux sans moi|scarifi\w*|auto ?-?mutil\w*",
    ),
    "pl": (
        r"samob[oó]j\w*|chce (?:juz |tylko )?(?:umrzec|sie zabic|zabic sie|nie zyc)|zabij[ea] sie|sie zabij[ea]|zabic sie",
        r"nie chce (?:mi sie )?(?:juz |wiecej )*(?:zyc|istniec|sie obudzic|obudzic sie)|odebra[cl] sobie zycie|skonczyc (?:ze soba|z zyciem)|cia[cl] sie|tne sie|samookalecz\w*|lepiej beze mnie|beze mnie (?:byloby|bedzie) lepiej",
    ),
    "pt": (
        r"(?:quero|queria|desejo|vontade de|vou|penso em|pensando em|prefiro|gostaria de) (?:so |muito )?(?:morrer|me matar|estar mort[oa]|sumir para sempre)",
        r"(?:tirar|acabar com) (?:a )?(?:minha )(?:propria )?vida|nao (?:quero|aguento|consigo|tenho vontade de) (?:mais )?(?:viver|existir|acordar)|melhor sem mim|me cortar|me cortando|me mutil\w+",
        r"(?:queria|quero|vontade de).{0,20}nao acordar",
    ),
    "other": (
        r"voglio morire|(?:voglio|vorrei|penso di|a) (?:uccidermi|ammazzarmi)|farla finita|togliermi la vita|non voglio (?:piu )?vivere",
        r"wil (?:niet meer leven|dood(?! moe)|mezelf (?:doden|iets aandoen))",
        r"marna chaht\w+|mar jana chaht\w+|jeena nahi|jina nahi|khudkhushi|khudkushi|a+tmhatya",
        r"не хо(?:чу|чется) (?:больше )?жить|хочу умереть|самоуби\w+|покончить с собои|intihar|olmek istiyorum",
    ),
}

#: The list as a regular expression (case aside), for programs that cannot import this one.
RISK_PATTERN = r"(?<![a-z])(?:{})(?![a-z])".format(
    "|".join(p for ps in _PATTERNS.values() for p in ps)
)

_RISK = re.compile(RISK_PATTERN, re.IGNORECASE)
_SUBSTITUTIONS = [(re.compile(p, re.IGNORECASE), r) for p, r in RISK_SUBSTITUTIONS]


def mentions_risk(text: str) -> bool:
    """Tell whether a text speaks of suicide or self-harm in the words of a fixed list."""
    plain = unicodedata.normalize("NFKD", text)
    for pattern, replacement in _SUBSTITUTIONS:
        plain = pattern.sub(replacement, plain)
    return _RISK.search(plain) is not None


def with_crisis_resource(answer: str, post: str, country: str = INTERNATIONAL) -> str:
    """Put the crisis resource under an answer whenever the post or the answer mentions risk.

    The resource is added by code, so that it never depends on what a model chose to say.

    Args:
        answer: What the model said; may be empty.
        post: What the person wrote; of a dialogue, all that the person wrote.
        country: ISO 3166 code of the reader; an unknown one gets the international resource.
    """
    resource = CRISIS_RESOURCES.get(country, CRISIS_RESOURCE)
    if resource in answer or not (mentions_risk(post) or mentions_risk(answer)):
        return answer
    return f"{answer.rstrip()}\n\n{resource}".lstrip()
