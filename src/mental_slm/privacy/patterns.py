"""Personal data that a pattern finds: addresses of all sorts, handles and long numbers.

Telephone numbers are found by Google's libphonenumber (package ``phonenumberslite``), names by
:mod:`mental_slm.privacy.names`; the rest are the regular expressions below. Each finder yields the
spans of one kind.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from .words import NOT_PERSONS

Span = tuple[int, int]

# --- the web -------------------------------------------------------------------------------------

#: Top-level domains that are not English words, so that a forgotten blank ("home.it is") is no URL.
_DOMAINS = (
    "com|net|org|info|edu|gov|mil|int|biz|io|co|app|dev|blog|online|site|shop|xyz|club|tech|wiki"
    "|travel"
    "|mobi|eu|uk|de|fr|ch|nl|pl|es|pt|se|dk|fi|cz|gr|ie|ee|lt|lv|lu|li|ro|hu|sk|si|hr|bg|rs|ca|au"
    "|nz|jp"
    "|cn|kr|tw|hk|sg|ph|th|vn|pk|bd|lk|il|ae|ir|eg|ng|ke|gh|br|mx|cl|pe|ar|za|ru|su|ua|kz|tr|tk"
    "|ml|tv"
    "|gg|ly|fm|cc|ai|page"
)
#: More that are words, but not with a path behind them ("youtu.be/x", "t.me/x").
_WITH_PATH = (
    "be|me|us|it|in|is|at|to|am|so|no|my|id|art|life|live|help|link|news|space|store|world|today"
    "|care"
    "|health|social|chat|support|media|website|cloud|name|pro"
)
_PATH = "be|me|us|it|in|is|at|to|am|so|no"
_PATH = r"(?:[/?#][^\s<>()\[\]]*)"
_URL = re.compile(r"(?:https?://|www\.)[^\s<>()\[\]]+", re.IGNORECASE)
_BARE_URL = re.compile(
    rf"(?<![\w@.-])(?:[a-z0-9](?:[\w-]*\w)?\.)+(?:(?:{_DOMAINS})(?::\d+)?{_PATH}?"
    rf"|(?:{_WITH_PATH}){_PATH})"
    r"(?![\w@-])",
    re.IGNORECASE,
)
_SPELT_URL = re.compile(
    r"(?<![\w@.-])[a-z0-9][\w-]*(?:\s+dot\s+|\s*[(\[{]dot[)\]}]\s*)(?:com|net|org|info|io|co|de"
    r"|uk|fr)\b"
    rf"{_PATH}?",
    re.IGNORECASE,
)
_OTHER_SCHEME = re.compile(r"\b(?:ftp|sftp|ssh|file|magnet|tg)://[^\s<>()\[\]]+", re.IGNORECASE)
_TRAILING = ".,;:!?'\"”’*_"

#: The fediverse's @name@server belongs to a handle.
_EMAIL = re.compile(r"(?<![\w.+@-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_AT = r"(?:\s*@\s*|\s*[(\[{]\s*at\s*[)\]}]\s*)"
_DOT = r"(?:\s*[(\[{]\s*(?:dot|\.)\s*[)\]}]\s*|\s+dot\s+|\s\.\s|\.)"
_SPELT_DOT = r"(?:\s*[(\[{]\s*dot\s*[)\]}]\s*|\s+dot\s+)"
_MAILBOXES = (
    "gmail|googlemail|yahoo|hotmail|outlook|icloud|proton|protonmail|aol|gmx|web|live|msn|ymail"
    "|zoho|mail"
)
_SPELT_EMAIL = re.compile(
    rf"(?<![\w.])[\w+'’-]+(?:(?:\.|{_SPELT_DOT})[\w+-]+){{0,3}}(?:"
    rf"{_AT}[\w-]+(?:{_DOT}[\w-]+)*?{_DOT}"
    rf"|\s+at\s+[\w-]+(?:{_DOT}[\w-]+)*?{_SPELT_DOT}"
    rf"|\s+at\s+(?:{_MAILBOXES})\.)(?:{_DOMAINS}|me|it|at|us)\b(?:{_DOT}(?:uk|au|nz|in|za|br|jp"
    rf"|mx)\b)?",
    re.IGNORECASE,
)
_PLATFORM = (
    r"(?:insta(?:gram)?|ig|snap(?:chat)?|sc|discord|disc|kik|telegram|tiktok|tik\s?tok|twitter"
    r"|skype"
    r"|psn|xbox(?:\s+live)?|steam|gamertag|whats\s?app|wechat|line|facebook|fb|tumblr|reddit|twitch"
    r"|username|user\s?name|user|handle|screen\s?name|nick(?:name)?)"
)
#: A token that no one would write as a word.
_ODD = r"(?=[\w.-]*[\d_]|\w+\.\w)[A-Za-z0-9_][\w.-]{1,30}\w(?![\w@])"
_LABELLED_HANDLE = re.compile(
    rf"\b{_PLATFORM}(?:\s+(?:id|handle|name|username|user|tag|account|profile))?"
    rf"\s*(?::|=|→|->)\s*@?(?P<handle>{_ODD}"
    r"|[a-z]{3,30}(?=\s*(?:$|[\n,;!?)]|\.\s|\.$|(?:if|for|add|message|dm|hmu|and|or)\b)))",
    re.IGNORECASE,
)
_TOLD_HANDLE = re.compile(
    rf"\b{_PLATFORM}(?:\s+(?:id|handle|name|username|user|tag|account|profile))?"
    rf"(?:['’]s|\s+is|\s+as|,|\s+at|\s+under|\s+-)?\s+(?P<handle>{_ODD})",
    re.IGNORECASE,
)
_HANDLE_ON = re.compile(
    rf"(?<![\w@.])(?P<handle>{_ODD})\s+(?:on|via)\s+(?:my\s+)?{_PLATFORM}\b", re.IGNORECASE
)
_CALLED_HANDLE = re.compile(
    rf"\bmy\s+{_PLATFORM}(?:\s+(?:id|handle|name|username|user|tag|account|profile))?\s+is\s+"
    r"(?P<handle>[A-Za-z][\w.-]{4,30}\w)(?=\s*(?:$|\n|[.,;!]?\s*(?:if|add|message|dm|hmu|so"
    r"|feel)\b))",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"(?<![\w/])/?u/[\w-]{3,32}|(?<![\w@.])@(?=[\w.-]{3})\w[\w.-]*\w")
_DISCORD = re.compile(r"(?<![\w#])[\w.-]{2,32}#\d{4}(?!\d)")
_FEDIVERSE = re.compile(r"(?<![\w.])@[\w.-]+@[\w-]+(?:\.[\w-]+)+")
_NUMERIC = re.compile(r"[\d_.-]+")
_NOT_HANDLES = frozenset(
    "home work school night least the all everyone here this that them yes none nothing private "
    "down"
    " public full dead gone empty broken blocked deleted not and".split()
)

# --- places --------------------------------------------------------------------------------------

_STATES = (
    "A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT"
    "|V[TAI]|W[AVIY]|A[AEP]|AS|FM|GU|MH|MP|PR|PW|Alabama|Alaska|Arizona|Arkansas|California"
    "|Colorado"
    "|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky"
    "|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana"
    "|Nebraska|Nevada|New\\s(?:Hampshire|Jersey|Mexico|York)|(?:North|South)\\s(?:Carolina|Dakota)"
    "|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode\\sIsland|Tennessee|Texas|Utah|Vermont|Virginia"
    "|Washington|West\\sVirginia|Wisconsin|Wyoming"
)
_NAME = r"(?:(?:St|Ft|Mt|Ste)\.\s)?[A-ZÀ-ÖØ-Þ][\w'’-]*"
_POSTCODES = (
    r"(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[ABD-HJLNP-UW-Z]{2}"  # United Kingdom
    r"|[ABCEGHJ-NPRSTVXY]\d[A-Z][\s-]?\d[A-Z]\d"  # Canada
    r"|(?:D-|A-|CH-|F-|NL-)?\d{4,5})"
)
_PROVINCES = "(?:ON|QC|BC|AB|MB|SK|NS|NB|NL|PE|NSW|VIC|QLD|WA|SA|TAS|ACT|NT)"
_STATE_ZIP = rf"(?:{_STATES})\.?,?\s+\d{{5}}(?:-\d{{4}})?"
_GAP = r"(?:\s*,\s*|\s*\n\s*|\s+)"
_CITY = rf"{_NAME}(?:[\s-]{_NAME}){{0,3}}"
#: What follows a street: a flat, a city, a code.
_TAIL = (
    rf"(?:{_GAP}(?:Apt|Apartment|Unit|Suite|Ste|Flat|Floor|Room|Studio|Wohnung"
    rf"|App)\.?\s?#?\s?\w{{1,5}}|{_GAP}#\s?\w{{1,5}})?"
    rf"(?:{_GAP}(?:{_CITY}{_GAP})?(?:{_STATE_ZIP}"
    rf"|(?:{_PROVINCES},?\s+)?{_POSTCODES}\b(?:\s+{_CITY})?)|,\s*{_CITY}(?=[\s.,;!?)]"
    rf"|$)(?:,\s*(?:(?:{_STATES})\b|{_CITY}))?)?"
)
_COMMON_STREETS = (
    "Street|St|Avenue|Ave|Av|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Way"
    "|Terrace|Ter"
    "|Circle|Cir|Square|Sq|Crescent|Cres|Close|Gardens|Gdns|Highway|Hwy|Parkway|Pkwy|Row|Mews|Hill"
    "|Parade|Walk|Alley|Loop|Trail|Grove|Park|View|Rise|Broadway"
)
_PLAIN_STREETS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|boulevard|blvd|court|ct|crescent|terrace"
    r"|(?:county\sroad|state\sroute|highway)\s\d{1,4}"
)
_NUMBER = (
    r"(?:\b(?:[Ff]lat|[Aa]pt\.?|[Aa]partment|[Uu]nit|[Ss]uite|[Rr]oom)\s?\w{1,4},?\s+(?:at\s+)?)?"
    r"(?<![\w$€£.,/-])(?:No\.?\s?|#)?\d{1,5}(?:[A-Za-z]|[/-]\d{1,4})?"
)
_COMPASS = r"(?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?\s+)?"
_PLAIN_STREET = re.compile(
    rf"{_NUMBER}\s+(?!(?:hours?|minutes?|mins?|miles?|blocks?|days?|weeks?|months?|years?|km"
    rf"|times)\b)"
    r"(?:(?!(?:the|a|of|down|up|my|this|per|in|on|at|to|and|from|for|with|people|more|other"
    r"|long)\b)[a-z]+\s+){0,3}?"
    rf"(?:{_PLAIN_STREETS})\b(?!\s+(?:away|long|trip))"
)
_LIVES_ON = re.compile(
    rf"\b(?:live[sd]?|living|stay(?:s|ed|ing)?|moved|house|home|flat|apartment|place"
    rf"|address)\s+(?:is\s+)?(?:on|in|at|to)\s+"
    rf"(?P<street>(?:{_NAME}\s+){{1,3}}(?:Street|Avenue|Ave|Road|Rd|Lane|Drive|Boulevard|Blvd"
    rf"|Crescent|Terrace))\b"
)
_GERMAN_STREET = re.compile(
    rf"(?:\b(?:(?:Am|An\sder|An\sden|Auf\sder|Auf\sdem|Im|In\sder|In\sden|Zum|Zur|Unter\sden|Alte"
    rf"|Lange|Neue|Kurze|Große|Obere|Untere)\s+)?"
    r"[A-ZÄÖÜ][\wäöüß.-]*(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|graben"
    r"|[\s-](?:Straße|Strasse|Str\.|Weg|Platz|Allee|Ring|Damm))"
    r"|\b(?:Am|An\sder|Auf\sder|Im|In\sder|Zum|Zur|Unter\sden)(?:\s[A-ZÄÖÜ][\wäöüß-]+){1,2})"
    rf"\s+\d{{1,4}}\s?(?:[a-hA-H]\b)?(?:/\d{{1,3}})?(?:{_GAP}(?:[DA]-)?\d{{4,5}}\s+{_CITY})?(?!\w)"
)
_ROMANCE_STREET = re.compile(
    rf"(?:{_NUMBER}(?:\s?(?:bis|ter))?,?\s+(?:rue|avenue|av\.|boulevard|bd\.?|place|chemin"
    rf"|all[ée]e|impasse|quai|route|cours|square|passage)\s+"
    r"(?:(?:de|du|des|de\sla|de\sl['’]|d['’]|la|le|les)\s?)?" + rf"{_CITY}"
    r"|\b(?:Calle|C/|Avenida|Av\.|Avda\.|Paseo|Plaza|Via|Viale|Piazza|Corso|Rua|Largo|Praça)\s+"
    rf"(?:(?:de|del|la|los|las|di|da|do|dos|della"
    rf"|dei)\s+){{0,2}}{_CITY},?\s+(?:n[.º°]?\s?)?\d{{1,4}}\w?)"
    rf"(?:{_GAP}\d{{5}}\s+{_CITY})?(?!\w)",
)
_POSTBOX = re.compile(
    rf"\b(?:P\.?\s?O\.?\s?Box|Post\s?Office\s+Box|Postbox|Postfach|GPO\s+Box|B\.?P\.|(?:PSC"
    rf"|Unit)\s+\d{{1,5}},?\s+Box|(?:USS|USNS|USCGC|USNV)\s+{_NAME},?\s+(?:FPO|APO|DPO))"
    rf"\s*#?\d{{0,8}}(?:{_GAP}(?:{_CITY}{_GAP})?(?:{_STATE_ZIP}|{_POSTCODES}\b(?:\s+{_CITY})?))?",
)
_PLACE_WITH_CODE = re.compile(
    rf"\b(?:(?:{_CITY},?\s+)?(?:{_STATES}),?\s+\d{{5}}(?:-\d{{4}})?"
    rf"|(?:{_CITY},?\s+)?[A-Z]{{1,2}}\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{{2}}"
    r"|[ABCEGHJ-NPRSTVXY]\d[A-Z]\s\d[A-Z]\d"
    rf"|(?:{_CITY},?\s+)?(?:{_CITY},?\s+)?{_PROVINCES}\s+[A-Z]\d[A-Z][\s-]?\d[A-Z]\d"
    rf"|(?<=[Ii]n\s)(?:[DA]-)?\d{{5}}\s[A-ZÄÖÜ][a-zäöüß]+(?!\w)|[DA]-\d{{4,5}}\s{_NAME})\b"
)
_ZIP = re.compile(
    r"\b(?:zip|postal|post|area)[\s-]?code(?:['’]s|\s+is|:)?\s+(?P<code>\d{5}(?:-\d{4})?|\d{4}"
    r"|[A-Za-z]{1,2}\d[A-Za-z\d]?\s?\d[A-Za-z]{2}|[A-Za-z]\d[A-Za-z]\s?\d[A-Za-z]\d)\b"
    r"|\bzip:?\s+(?P<zip>\d{5}(?:-\d{4})?)\b",
    re.IGNORECASE,
)

# --- numbers -------------------------------------------------------------------------------------

_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(
    r"(?<![\w.-])\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}(?!\w)|(?<![\w.-])3\d{3}[ -]\d{6}[ -]\d{5}(?!\w)"
)
_SOCIAL_SECURITY = re.compile(
    r"(?<![\w.-])\d{3}([- ])\d{2}\1\d{4}(?!\w)|\b[A-CEGHJ-PR-TW-Z][A-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b"
)
_LONG = re.compile(
    r"(?<![\w.,])#?\d{7,}(?![\d])|\b[A-Z]{1,4}[-]?\d{6,}[A-Z]{0,2}\b|\b\d{6,}[A-Z]{1,2}\b"
)
_SORT_CODE = re.compile(
    r"\bsort\s?code(?:['’]s|\s+is|:)?\s+(?P<code>\d\d[- ]?\d\d[- ]?\d\d)\b", re.IGNORECASE
)
_HYPHENATED = re.compile(r"(?<![\w.,$€£-])#?[A-Z]{0,2}\d+(?:-\d+){1,5}(?![\w-])")
_NAMED_NUMBER = re.compile(
    r"\b(?:account|acct|card|passport|licen[cs]e|policy|member(?:ship)?|case|patient|student"
    r"|customer"
    r"|insurance|id|ssn|social(?:\s+security)?|tax|routing|iban|nhs|medicare|record|badge"
    r"|employee|order)"
    r"(?:\s+(?:number|no\.?|num|nr\.?|id|\#))?(?:['’]s|\s+is|\s+was|\s+ends?\s+(?:in"
    r"|with))?\s*[:#]?\s*"
    r"(?P<number>(?=(?:[\w-]*?\d[ -]?){5})[A-Z]{0,3}-?\d[\d -]{3,22}\d[A-Z]?)\b",
    re.IGNORECASE,
)
_EXTENSION = r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?!\w)"
_GROUPED_PHONE = re.compile(
    r"(?<![\w.,$€£])(?:"
    r"(?:\+|00)\d{1,3}[\s./-]?(?:\(0?\d{0,4}\)[\s./-]?)?\d{1,12}(?:[\s./-]{1,2}\d{2,8}){0,5}"
    r"|\(?0\d{1,5}\)?[\s./-]{1,3}\d{2,8}(?:[\s./-]\d{2,6}){0,4}"
    r"|(?:\+?1[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]?\d{4}"
    r"|\d{3}[.-]\d{4})" + _EXTENSION,
    re.IGNORECASE,
)
_DATE_LIKE = re.compile(
    r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|^(?:19|20)\d\d(?:[\s./-]+(?:19|20)\d\d)+$"
)
#: Regions whose national numbers are looked for; a number with its country code needs no region.
_REGIONS = ("US", "GB", "DE", "FR", "AU", "IN")
#: "250. 249" is the end of one sentence and the start of another.
_SENTENCE_GAP = re.compile(r"\d[.,;:]\s")
_DIGITS = re.compile(r"\d")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)(?:/\d{1,2}\b)?")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")

# --- dates of birth ------------------------------------------------------------------------------

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember"
    r"|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre)\.?"
)
_DATE = (
    rf"(?:\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{1,2}}(?:st|nd|rd|th"
    rf"|\.)?[\s-]+(?:of\s+)?{_MONTH}(?:,?[\s-]+\d{{4}}|\s+'?\d{{2}}\b)?"
    rf"|\d{{1,2}}[./]\d{{1,2}}\b(?![./])|{_MONTH}\s+(?:the\s+)?\d{{1,2}}(?:st|nd|rd"
    rf"|th)?\b(?:,?\s+\d{{4}})?)"
)
_BIRTH = re.compile(
    r"\b(?:born\b[^.!?\n\d]{0,30}|birth\s?da(?:y|te)(?:['’]s|\s+(?:is|was|falls|on))*"
    r"|born\s+at\s+\d{1,2}(?::\d\d)?\s*(?:[ap]m)?(?:\s+(?:on|the))*"
    r"|b-?day(?:['’]s|\s+(?:is|was|on))*|d\.?o\.?b\.?(?:\s+is)?|date\s+of\s+birth(?:\s+(?:is|was))?"
    r"|turn(?:s|ed|ing)?\s+\d{1,3}\s+on|geboren(?:\s+am)?|geb\.|b\.|née?\s+le)"
    rf"\s*[:=(]?\s*(?:on\s+|the\s+)?(?P<date>{_DATE})|\(\s*(?:\*|born)\s*(?P<noted>{_DATE})\s*\)",
    re.IGNORECASE,
)

# --- what is no personal data, however it looks --------------------------------------------------

#: Crisis lines (United States, Canada, United Kingdom, Ireland, European Union, Germany, Australia,
#: India and others), digits only: help must stay readable.
_CRISIS_NUMBERS = frozenset(
    "988 911 999 112 111 000 116123 116111 116006 741741 85258 50808 686868 18002738255 8002738255"
    " 18002732 18884887386 18664887386 8664887386 18775658860 18334564566 8334564566 08001111"
    " 08457909090 08006895652 131114 1300224636 1300659467 1800551800 08001110111 08001110222"
    " 01114 0800111011 3114 9152987821 8006624357 18006624357 18007997233 8007997233".split()
)
_CRISIS_SITES = (
    "findahelpline.com|988lifeline.org|suicidepreventionlifeline.org|crisistextline.org"
    "|samaritans.org"
    "|befrienders.org|iasp.info|thetrevorproject.org|lifeline.org.au|suicide.org|nami.org"
    "|telefonseelsorge.de|opencounseling.com|mind.org.uk|papyrus-uk.org|rainn.org|childline.org.uk"
    "|shoutcrisis.org|giveusashout.org|translifeline.org|samhsa.gov|beyondblue.org.au"
)
_CRISIS_SITE = re.compile(
    rf"^(?:https?://)?(?:[\w-]+\.)*(?:{_CRISIS_SITES.replace('.', '[.]')})(?![\w.-]*\w)",
    re.IGNORECASE,
)


def find_urls(text: str) -> Iterator[Span]:
    """Yield addresses on the web: with a scheme, with ``www.``, bare, or spelt ("x dot com")."""
    if "." not in text and "dot" not in text.lower() and "://" not in text:
        return
    for pattern in (_URL, _OTHER_SCHEME, _BARE_URL, _SPELT_URL):
        for match in pattern.finditer(text):
            end = match.start() + len(match[0].rstrip(_TRAILING))
            if not _CRISIS_SITE.match(match[0]) and end > match.start():
                yield match.start(), end


def find_emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses, also spelt ones ("name at mail dot com", "name [at] mail.com")."""
    if "@" not in text and "at" not in text.lower():
        return
    for pattern in (_EMAIL, _SPELT_EMAIL):
        for match in pattern.finditer(text):
            yield match.span()


def find_handles(text: str) -> Iterator[Span]:
    """Yield names of accounts: u/x, @x, x#1234, "insta: x"; never a subreddit."""
    yield from _spans(_FEDIVERSE, text)
    for match in _ACCOUNT.finditer(text):
        if match[0].lstrip("@").lower() not in _NOT_HANDLES:
            yield match.span()
    yield from _spans(_DISCORD, text)
    for pattern in (_LABELLED_HANDLE, _TOLD_HANDLE, _HANDLE_ON, _CALLED_HANDLE):
        for match in pattern.finditer(text):
            handle = match["handle"].lower()
            if handle not in _NOT_HANDLES | NOT_PERSONS and not _NUMERIC.fullmatch(handle):
                yield match.span("handle")


def find_addresses(text: str) -> Iterator[Span]:
    """Yield postal addresses: street and number, post-office boxes, cities with their codes."""
    yield from _spans(_LIVES_ON, text, "street")
    if not _DIGITS.search(text):
        return
    patterns = (
        _street(),
        _GERMAN_STREET,
        _ROMANCE_STREET,
        _POSTBOX,
        _PLACE_WITH_CODE,
        _PLAIN_STREET,
    )
    for pattern in patterns:
        yield from _spans(pattern, text)
    yield from _spans(_ZIP, text, "code")
    yield from _spans(_ZIP, text, "zip")


def find_phones(text: str) -> Iterator[Span]:
    """Yield telephone numbers, international and national; crisis lines are not among them."""
    if len(_DIGITS.findall(text)) < 7:
        return
    for start, end in (*_libphonenumber(text), *_grouped_phones(text)):
        if not is_crisis_number(text[start:end]):
            yield start, end


def find_numbers(text: str) -> Iterator[Span]:
    """Yield bank accounts, cards, social security numbers and all numbers of seven digits."""
    if len(_DIGITS.findall(text)) < 5:
        return
    for match in _IBAN.finditer(text):
        if sum(letter.isdigit() for letter in match[0]) >= 8:
            yield match.span()
    for pattern in (_CARD, _HYPHENATED):
        for match in pattern.finditer(text):
            digits = len(_DIGITS.findall(match[0]))
            if digits >= 9 and not _DATE_LIKE.match(match[0]) and not is_crisis_number(match[0]):
                yield match.span()
    yield from _spans(_SOCIAL_SECURITY, text)
    yield from _spans(_SORT_CODE, text, "code")
    for span in (*_spans(_LONG, text), *_spans(_NAMED_NUMBER, text, "number")):
        if not is_crisis_number(text[slice(*span)]):
            yield span


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Yield addresses of computers, version 4 and 6."""
    for match in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        if _is_ip_address(match[0].split("/")[0]):
            yield match.span()


def find_dates_of_birth(text: str) -> Iterator[Span]:
    """Yield dates that are said to be somebody's birth; a bare year or another date stays."""
    if not _DIGITS.search(text):
        return
    yield from _spans(_BIRTH, text, "date")
    yield from _spans(_BIRTH, text, "noted")


def is_crisis_number(text: str) -> bool:
    """Tell whether a number is a crisis line or an emergency number."""
    return "".join(_DIGITS.findall(text)) in _CRISIS_NUMBERS


#: Finders by kind. Of two equal findings, the kind that stands first here gives the name.
FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": find_emails,
    "url": find_urls,
    "user": find_handles,
    "date_of_birth": find_dates_of_birth,
    "ip": find_ip_addresses,
    "address": find_addresses,
    "number": find_numbers,
    "phone": find_phones,
}


def _spans(pattern: "re.Pattern[str]", text: str, group: str | int = 0) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if match.start(group) >= 0:
            yield match.span(group)


def _libphonenumber(text: str) -> Iterator[Span]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in _REGIONS:
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            if not _SENTENCE_GAP.search(match.raw_string):
                yield match.start, match.end


def _grouped_phones(text: str) -> Iterator[Span]:
    """Yield groups of digits in the shape of a number, also where no such number is in use."""
    for match in _GROUPED_PHONE.finditer(text):
        digits = len(_DIGITS.findall(match[0]))
        if 7 <= digits <= 20 and not _DATE_LIKE.match(match[0]):
            yield match.span()


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text.strip(":") != ""


@lru_cache(maxsize=1)
def _street() -> "re.Pattern[str]":
    """Return the pattern of an English street with its number, by the US postal suffixes."""
    from faker.providers.address.en_US import Provider

    suffixes = sorted(
        {*Provider.street_suffixes, *_COMMON_STREETS.split("|")}, key=len, reverse=True
    )
    return re.compile(
        rf"{_NUMBER},?\s+{_COMPASS}(?:(?:{_NAME}|\d{{1,3}}(?:st|nd|rd"
        rf"|th))\s+){{1,4}}(?:{'|'.join(suffixes)})\b\.?"
        r"(?!\s(?:To|Of|For|In|The|That|You|I)\b)"
        rf"(?:\s+(?:N|S|E|W|NE|NW|SE|SW)\b\.?)?{_TAIL}"
    )
