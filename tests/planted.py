"""Made-up sentences with personal data planted in them, and as many tempting ones without any.

Sentences and names are ours; values come from Faker with a fixed seed, in the formats people type.
What is planted is marked with its place, so that findings can be counted against it.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faker import Faker

SEED = 20260417
PER_CLASS = 320

#: Given names written down from memory, from many languages, whether or not a list holds them.
WORLD_NAMES = (
    "Xolani Lerato Tendai Thandiwe Chidi Ngozi Kwame Abena Kofi Amara Oluwaseun Folake Wanjiru Otieno "
    "Yuki Haruto Sakura Wei Xiaoming Meiling Jiho Soojin Nguyet Minh Linh Siti Budi Putri Arjun Priya "
    "Rahul Ananya Kavya Imran Ayesha Fatima Yusuf Layla Karim Samira Emre Aylin Mehmet Zeynep Elif "
    "Dmitri Svetlana Oksana Bohdan Kasia Agnieszka Wojciech Tomasz Zsofia Laszlo Eszter Ioana Andrei "
    "Milica Dragan Goran Ivana Anke Juergen Heike Soeren Astrid Bjorn Ingrid Siobhan Niamh Aoife Owain "
    "Rhys Joaquin Lucia Mateo Xiomara Thiago Joao Beatriz Giulia Matteo Chiara Camille Thibault "
    "Noor Daan Femke Joris Saoirse Makoa Leilani Tavita Aroha Wiremu Nizhoni Itzel Cuauhtemoc"
).split()
#: Given names that are also plain words.
WORD_NAMES = "Hope Grace Faith Joy Will Mark Bill Rose Frank Jack Rob Drew Hunter Dawn Summer Autumn April June May Chase Grant Daisy Ruby Amber".split()
RELATIONS = "boyfriend girlfriend husband wife brother sister son daughter cousin friend roommate boss therapist coworker uncle".split()
DRUGS = (
    "Prozac Zoloft Lexapro Seroquel Xanax Wellbutrin Abilify sertraline fluoxetine lithium".split()
)


@dataclass(frozen=True)
class Planted:
    """One sentence. ``values`` are the spans of what is planted in it (none in a clean one)."""

    kind: str
    text: str
    values: tuple[tuple[int, int], ...]


class Planter:
    """Makes sentences from templates; everything random comes from one seed."""

    def __init__(self, seed: int = SEED) -> None:
        self.rng = random.Random(seed)
        self.fakers = {}
        for locale in (
            "en_US",
            "en_GB",
            "en_CA",
            "en_AU",
            "en_IN",
            "de_DE",
            "fr_FR",
            "es_ES",
            "it_IT",
            "pl_PL",
            "tr_TR",
        ):
            self.fakers[locale] = Faker(locale)
            self.fakers[locale].seed_instance(seed)

    def planted(self, kind: str, count: int = PER_CLASS) -> list[Planted]:
        """Return ``count`` sentences with one value of a class each."""
        value, templates = CLASSES[kind]
        return [self._plant(kind, self.rng.choice(templates), value(self)) for _ in range(count)]

    def unseen(self, kind: str, count: int = PER_CLASS) -> list[Planted]:
        """Return ``count`` sentences with a value of a class that no pattern was fitted to."""
        return [
            _marked(kind, self._fill(self.rng.choice(_UNSEEN_PLACES)), self.rng.choice(values))
            for values in [UNSEEN_VALUES[kind]]
            for _ in range(count)
        ]

    def clean(self, kind: str, count: int = PER_CLASS) -> list[Planted]:
        """Return ``count`` sentences that tempt the finder of a class and hold no personal data."""
        return [Planted(kind, self._fill(self.rng.choice(CLEAN[kind])), ()) for _ in range(count)]

    def choose(self, *options: str) -> str:
        return self.rng.choice(options)

    def digits(self, pattern: str) -> str:
        """Put a random digit for every # (never a leading zero for %)."""
        filled = re.sub("%", lambda _: str(self.rng.randint(1, 9)), pattern)
        return re.sub("#", lambda _: str(self.rng.randint(0, 9)), filled)

    def fake(self, *locales: str) -> Faker:
        return self.fakers[self.rng.choice(locales)]

    def _plant(self, kind: str, template: str, value: str) -> Planted:
        before, _, after = template.partition("{}")
        before, after = self._fill(before), self._fill(after)
        return Planted(kind, before + value + after, ((len(before), len(before) + len(value)),))

    def _fill(self, template: str) -> str:
        return re.sub(r"\[(\w+)\]", lambda slot: str(SLOTS[slot[1]](self)), template)


SLOTS: dict[str, Callable[[Planter], object]] = {
    "relation": lambda p: p.choose(*RELATIONS),
    "drug": lambda p: p.choose(*DRUGS),
    "dose": lambda p: (
        p.choose("5", "10", "12.5", "20", "50", "100", "150", "300", "1000")
        + p.choose(" mg", "mg", " milligrams")
    ),
    "age": lambda p: p.rng.randint(13, 89),
    "year": lambda p: p.rng.randint(1960, 2026),
    "small": lambda p: p.rng.randint(2, 30),
    "hundred": lambda p: p.rng.randint(100, 999),
    "thousand": lambda p: p.choose(
        f"{p.rng.randint(2, 99)},{p.rng.randint(100, 999)}", str(p.rng.randint(1000, 9999))
    ),
    "hour": lambda p: p.choose("7:30", "11:45 pm", "3am", "03:15", "16:20", "23:59:59"),
    "price": lambda p: p.choose(
        "$20", "$1,200", "£350", "40 euros", "$15.99", "$120,000", "1,250,000 dollars"
    ),
    "day": lambda p: p.choose("Monday", "Tuesday", "Friday", "Sunday"),
    "month": lambda p: p.choose("January", "March", "April", "May", "June", "August"),
    "place": lambda p: p.choose(
        "Texas",
        "London",
        "Berlin",
        "California",
        "Paris",
        "Ohio",
        "Canada",
        "Scotland",
        "Austin",
        "Sydney",
    ),
    "brand": lambda p: p.choose(
        "Reddit", "Netflix", "Facebook", "Discord", "Spotify", "Amazon", "TikTok"
    ),
    "feeling": lambda p: p.choose(
        "numb", "lost", "tired", "anxious", "empty", "hopeful", "ashamed"
    ),
    "sub": lambda p: p.choose("depression", "offmychest", "BPD", "Anxiety", "relationship_advice"),
    "given": lambda p: p.choose("Daniel", "Laura", "Katie", "Mohammed", "Sofia"),
    "word": lambda p: p.choose(
        "will", "hope", "may", "joy", "grace", "faith", "mark", "rose", "bill", "frank"
    ),
}


def _email(p: Planter) -> str:
    user = p.fake("en_US", "de_DE", "es_ES").user_name() + p.choose("", ".", "_", "+x").replace(
        ".", ".k"
    ).replace("_", "_99")
    domain = p.choose(
        "gmail.com",
        "yahoo.co.uk",
        "web.de",
        "proton.me",
        "hotmail.fr",
        p.fake("en_US").domain_name(),
        "mail." + p.fake("en_GB").domain_name(),
    )
    return p.choose(
        f"{user}@{domain}",
        f"{user}@{domain}",
        f"{user.upper()}@{domain}",
        f"{user} at {domain.replace('.', ' dot ')}",
        f"{user} [at] {domain}",
        f"{user}(at){domain.replace('.', '(dot)')}",
        f"{user} @ {domain}",
        f"{user} AT {domain.replace('.', ' DOT ')}",
    )


def _url(p: Planter) -> str:
    domain = p.fake("en_US").domain_name()
    path = p.fake("en_US").uri_path()
    return p.choose(
        f"https://{domain}/{path}",
        f"http://www.{domain}",
        f"www.{domain}/{path}?id={p.rng.randint(1, 999)}",
        domain,
        f"{domain}/{path}",
        f"blog.{domain}",
        f"https://www.reddit.com/user/{p.fake('en_US').user_name()}",
        f"HTTPS://{domain.upper()}/X",
        f"{domain.split('.')[0]} dot com",
        f"discord.gg/{p.fake('en_US').pystr(6, 8)}",
        f"youtu.be/{p.fake('en_US').pystr(11, 11)}",
        f"http://{domain}:8080/{path}#top",
        f"t.me/{p.fake('en_US').user_name()}",
        f"bit.ly/{p.fake('en_US').pystr(7, 7)}",
    )


def _phone(p: Planter) -> str:
    local = p.choose(
        "(%##) %##-####",
        "%##-%##-####",
        "%##.%##.####",
        "%## %## ####",
        "1-%##-%##-####",
        "+1 %## %## ####",
        "+1 (%##) %##-####",
        "%##-####",
        "%##%######",
        "001-%##-%##-####",
        "(%##)%##-####x###",
        "+1%##%######",
        "+44 7### ######",
        "+44 (0)20 #### ####",
        "07### ######",
        "020 #### ####",
        "0161 ### ####",
        "+49 15# #######",
        "0171/#######",
        "0176-########",
        "030 #######",
        "+49 (0)89 ######",
        "0049 30 #######",
        "06 ## ## ## ##",
        "+33 6 ## ## ## ##",
        "01.##.##.##.##",
        "+34 6## ### ###",
        "+48 5## ### ###",
        "04## ### ###",
        "+61 4## ### ###",
        "+91 9#### #####",
        "09### ######",
        "+90 5## ### ## ##",
    )
    return p.choose(
        p.digits(local), p.digits(local), p.fake("en_US", "en_GB", "de_DE", "fr_FR").phone_number()
    )


def _handle(p: Planter) -> str:
    return p.choose(*(p.fake("en_US", "de_DE").user_name() for _ in range(3))) + p.choose(
        "", "", "_x", str(p.rng.randint(1, 99))
    )


def _user(p: Planter) -> str:
    name = _handle(p)
    return p.choose(
        f"u/{name}", f"/u/{name}", f"@{name}", f"{name}#{p.digits('####')}", f"@{name}", f"u/{name}"
    )


def _number(p: Planter) -> str:
    return p.choose(
        p.digits("%######"),
        p.digits("%#######"),
        p.digits("%###########"),
        p.digits("%##-##-####"),
        p.digits("%## ## ####"),
        p.digits("X%######"),
        p.digits("AB%#######"),
        f"#{p.digits('%######')}",
        p.fake("en_US").ssn(),
        p.digits("%#########"),
    )


def _card(p: Planter) -> str:
    number = p.fake("en_US").credit_card_number(
        card_type=p.choose("visa16", "mastercard", "discover", "amex")
    )
    if len(number) == 15:
        return p.choose(
            number,
            f"{number[:4]} {number[4:10]} {number[10:]}",
            f"{number[:4]}-{number[4:10]}-{number[10:]}",
        )
    groups = [number[i : i + 4] for i in range(0, 16, 4)]
    return p.choose(number, " ".join(groups), "-".join(groups))


def _iban(p: Planter) -> str:
    iban = p.fake("de_DE", "en_GB", "fr_FR", "it_IT", "es_ES", "pl_PL", "tr_TR").iban()
    return p.choose(iban, " ".join(iban[i : i + 4] for i in range(0, len(iban), 4)))


def _ip(p: Planter) -> str:
    return p.choose(p.fake("en_US").ipv4(), p.fake("en_US").ipv4_public(), p.fake("en_US").ipv6())


def _address(p: Planter) -> str:
    us, gb, ca, de, fr, au = (
        p.fakers[locale] for locale in ("en_US", "en_GB", "en_CA", "de_DE", "fr_FR", "en_AU")
    )
    makers: tuple[Callable[[], str], ...] = (
        us.street_address,
        us.street_address,
        us.address,
        lambda: us.address().replace("\n", ", "),
        us.street_address,
        lambda: (
            f"{p.rng.randint(1, 999)} {p.choose('Elm', 'Oak', 'Maple', '5th', 'W 42nd', 'North Main', 'St. James')} {p.choose('St', 'Street', 'Ave', 'Rd.', 'Drive', 'Blvd')}{p.choose('', ', Apt 4B', ' #12', ', Unit 3')}"
        ),
        lambda: (
            f"{p.rng.randint(1, 99)} {p.choose('main', 'high', 'church', 'station', 'old mill')} {p.choose('street', 'road', 'lane', 'avenue')}"
        ),
        lambda: (
            f"{p.rng.randint(1, 199)} {gb.last_name()} {p.choose('Road', 'Street', 'Close', 'Gardens', 'Crescent')}, {gb.city()}, {gb.postcode()}"
        ),
        gb.postcode,
        lambda: f"PO Box {p.rng.randint(1, 99999)}",
        lambda: (
            f"P.O. Box {p.rng.randint(1, 9999)}, {us.city()}, {us.state_abbr(include_territories=False)} {us.zipcode()}"
        ),
        lambda: (
            f"{us.city()}, {us.state_abbr(include_territories=False, include_freely_associated_states=False)} {us.zipcode()}"
        ),
        lambda: f"{us.city()}, {us.state()} {us.zipcode()}",
        lambda: (
            f"{ca.street_address()}, {ca.city()}, {p.choose('ON', 'QC', 'BC', 'AB')} {ca.postcode()}"
        ),
        lambda: (
            f"{au.building_number().lstrip('0') or '3'} {au.last_name()} {p.choose('Street', 'Road', 'Parade', 'Terrace')}"
        ),
        lambda: (
            f"{de.last_name()}{p.choose('straße', 'weg', 'allee', 'platz', 'str.', '-Straße')} {p.rng.randint(1, 200)}{p.choose('', 'a', ' b')}"
        ),
        lambda: (
            f"{de.last_name()}{p.choose('straße', 'weg', 'gasse')} {p.rng.randint(1, 200)}, {de.postcode()} {p.choose('Berlin', 'Hamburg', 'Köln', 'Jena')}"
        ),
        lambda: (
            f"{p.rng.randint(1, 200)}{p.choose('', ' bis')} {p.choose('rue', 'avenue', 'boulevard')} {p.choose('de ', 'du ', '')}{fr.last_name()}"
        ),
        lambda: (
            f"{p.rng.randint(1, 200)}, rue {fr.last_name()}, {fr.postcode()} {p.choose('Paris', 'Lyon', 'Nantes')}"
        ),
    )
    return p.rng.choice(makers)()


def _birth(p: Planter) -> str:
    date = p.fake("en_US").date_of_birth(minimum_age=14, maximum_age=80)
    day, suffix = (
        date.day,
        {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}.get(date.day, "th"),
    )
    return p.choose(
        f"{date:%m/%d/%Y}",
        f"{date:%d.%m.%Y}",
        f"{date:%Y-%m-%d}",
        f"{date:%d/%m/%y}",
        f"{day} {date:%B} {date.year}",
        f"{date:%B} {day}, {date.year}",
        f"{date:%B} {day}{suffix} {date.year}",
        f"{day}{suffix} of {date:%B} {date.year}",
        f"{date:%b} {day}, {date.year}",
        f"{date:%B} {day}{suffix}",
        f"{date:%d-%m-%Y}",
    )


def _listed(p: Planter) -> str:
    faker = p.fake(
        "en_US",
        "en_US",
        "en_US",
        "en_GB",
        "en_AU",
        "en_IN",
        "de_DE",
        "fr_FR",
        "es_ES",
        "it_IT",
        "pl_PL",
        "tr_TR",
    )
    given = faker.first_name().split()[0]
    return p.choose(given, given, f"{given} {faker.last_name().split()[0]}")


_ANYWHERE = (
    "You can reach me here: {} if you want to talk.",
    "I had to give them {} and now I regret it.",
    "Is {} safe to share? I feel [feeling].",
    "so yeah, {}. that is all i have left",
    "My ex posted {} for everyone to see!",
    "It was {}, I remember it well",
    "{} is what I wrote on the form.",
    "They wrote down {}, then sent me home with [dose] of [drug].",
    "(mine: {})",
    "I kept repeating it: {}.\n\nThen I cried.",
    "Contact: {}",
)
_NAME_PLACES = (
    "My [relation] {} left me on [day].",
    "my [relation] {} keeps calling",
    "I told {} about the panic attacks.",
    "I'm so angry at {} for what happened.",
    "Last night {} said I should just get over it.",
    "{} told me that I am a burden.",
    "Then I saw {} at the clinic.",
    "I miss {}.",
    "My name is {} and I am [age].",
    "Hi, I'm {}.",
    "It was {}'s idea to stop taking [drug].",
    "Thanks for reading.\n\n- {}",
    "Please help me.\n\nLove,\n{}",
    "I live with {} and two cats.",
    "She married {} in [year].",
    "Dear {}, I forgive you.",
    "A guy named {} followed me home.",
    "I love {} more than anything.",
    "{} and I broke up last week.",
)
_UNSURE_PLACES = (
    "My [relation] {} left me on [day].",
    "my [relation] {} keeps calling",
    "My name is {} and I am [age].",
    "Thanks for reading.\n\n- {}",
    "I told {} about it.",
    "A guy named {} followed me home.",
    "Last night {} said I should just get over it.",
    "I asked {} to stay.",
    "{} told me that I am a burden.",
    "Please help.\n\nLove,\n{}",
    "Dear {}, I forgive you.",
    "I have not seen {} since [month].",
)

#: Class to the maker of its values and the sentences they are planted in.
CLASSES: dict[str, tuple[Callable[[Planter], str], tuple[str, ...]]] = {
    "email": (_email, (*_ANYWHERE, "mailto:{}")),
    "url": (_url, _ANYWHERE),
    "phone": (
        _phone,
        (
            *_ANYWHERE,
            "call me at {} please",
            "My number is {}.",
            "text {} anytime",
            "His phone was {} back then.",
        ),
    ),
    "user": (_user, _ANYWHERE),
    "user_labelled": (
        lambda p: _handle(p) + p.choose("_", ".x", "77"),
        (
            "add me on insta: {}",
            "Discord: {} if anyone wants to talk",
            "my snapchat is {} btw",
            "my instagram is {}, message me",
            "Kik: {}",
            "IG {} for details",
            "hit me up on discord {}",
            "username: {}",
            "my PSN is {}",
            "Telegram = {}",
            "Snap: {}",
            "my twitter handle is {}.",
        ),
    ),
    "number": (
        _number,
        (*_ANYWHERE, "my case number is {}", "patient id {} was on the wristband", "My SSN is {}"),
    ),
    "card": (_card, (*_ANYWHERE, "he charged {} without asking", "my card, {}, is maxed out")),
    "iban": (_iban, (*_ANYWHERE, "send it to {} please")),
    "ip": (_ip, (*_ANYWHERE, "banned my IP {} for it")),
    "address": (
        _address,
        (
            "I live at {}.",
            "We moved to {} in [year].",
            "He found out that I stay at {} and came by.",
            "Send it to {}, please.",
            "My address is {}",
            "She lives near {} now.",
            "They searched {} last [day].",
            "The clinic at {} was closed!",
        ),
    ),
    "date_of_birth": (
        _birth,
        (
            "I was born on {}.",
            "My date of birth is {}.",
            "DOB: {}",
            "born {} in [place]",
            "my birthday is {} and nobody came",
            "D.O.B. {} was on the form",
            "She was born {} and is [age] now.",
            "My birthday was {}.",
            "He was born on the {}.",
        ),
    ),
    "name_listed": (_listed, _NAME_PLACES),
    "name_world": (lambda p: p.choose(*WORLD_NAMES), _NAME_PLACES),
    "name_word": (lambda p: p.choose(*WORD_NAMES), _UNSURE_PLACES),
    "name_surname": (
        lambda p: p.fake("en_US", "en_GB", "en_IN", "de_DE", "pl_PL").last_name().split()[0],
        (
            "Dr. {} raised it to [dose].",
            "Mr. {} failed me in math.",
            "I see Dr {} on [day].",
            "my teacher, Mrs. {}, noticed",
            "Professor {} yelled at me.",
            "Ms. {} was kind to me.",
            "my therapist Dr. {} thinks I am [feeling]",
        ),
    ),
    "name_lower": (
        lambda p: p.choose(
            p.fake("en_US", "en_GB", "es_ES", "de_DE").first_name().split()[0],
            p.choose(*WORLD_NAMES),
        ).lower(),
        (
            "my [relation] {} keeps calling",
            "my name is {} and i am [age]",
            "i met a guy named {} in [place]",
            "my best friend {} died in [year]",
            "my [relation] {} hates me",
        ),
    ),
}

#: Values written down after the patterns were finished: what was measured on them the first time is
#: the better guess at texts nobody has seen (recall: e-mail .925, url 1.0, phone .963, user .916,
#: number .900, address .909, date of birth .706, name .810). The patterns for addresses and dates of
#: birth were mended afterwards; the others were left as they were. Braces mark what is personal.
UNSEEN_VALUES: dict[str, tuple[str, ...]] = {
    "email": (
        "{grey.skies@laposte.net}",
        "{B_Novak1987@centrum.cz}",
        "{to.me+lists@alumni.school.edu}",
        "{k.w@tu-example.de}",
        "{lost (at) pobox (dot) com}",
        "{night.owl[at]posteo.net}",
        "{mum2three@sky.com}",
        "{sam-i-am@ntlworld.com}",
        "{r e n @ gmail.com}",
        "{rosa at gmail.com}",
        "{dr.who@hospital.nhs.uk}",
        "{4ever.alone@163.com}",
        "{m_@x.org}",
        "{jo AT example DOT org}",
        "<{jen@example.org}>",
        "{contact.us@support.example.co.uk}",
    ),
    "url": (
        "{https://docs.example.org/a/b#c}",
        "{http://user.example.net/~me}",
        "{www.mydiary.example}",
        "{tumblr.com/blog/x}",
        "{medium.com/@sad/why-me-42}",
        "{onlyme.livejournal.com}",
        "{amzn.to/3abcd}",
        "{drive.google.com/file/d/1AbC}",
        "{example.co.nz}",
        "{vent-here.com.au/room?id=3}",
        "[here]({https://example.com/x})",
        "{https://t.co/AbC123}",
        "{my.page.io}",
        "{paypal.me/helpme}",
        "{ko-fi.com/someone}",
        "{HTTP://EXAMPLE.ORG}",
    ),
    "phone": (
        "{212 555 0188}",
        "{(646)555-0134}",
        "{1.415.555.0102}",
        "{+14155550102}",
        "{415-5550102}",
        "{+44 20 7946 0991}",
        "{07700 900 982}",
        "{0117 496 0123}",
        "{+353 1 555 0199}",
        "{089/1234567}",
        "{+49-151-23456789}",
        "{0043 1 5880417}",
        "{01 70 18 99 01}",
        "{+33.6.39.98.12.34}",
        "{91 123 45 67}",
        "{+41 44 668 18 00}",
        "{+46 70-174 06 05}",
        "{+1 (604) 555-0123 ext. 12}",
        "{(03) 9999 1234}",
        "{+27 82 123 4567}",
    ),
    "user": (
        "{u/grey_area_22}",
        "{/u/NotMyMain-}",
        "{@blue.monday}",
        "{@itsjustme__}",
        "{rainyday#7781}",
        "insta {rainy_day.03}",
        "IG: {nobody.special}",
        "sc: {mxx_99}",
        "find me on discord as {vex_01}",
        "my kik is {sleepless_in_ohio}",
        "twitter {@quietstorm}",
        "Xbox gamertag: {xSilentx}",
        "tumblr: {paper-moons}",
        "{jo.k_88} on instagram",
        "snapchat = {lilacs4u}",
        "username {ghost_of_me}",
    ),
    "number": (
        "SSN: {078-05-1121}",
        "{078051121}",
        "passport {C01X00T47}",
        "account number {12345678}",
        "{4000 1234 5678 9010}",
        "{5500-0000-0000-0004}",
        "{GB29 NWBK 6016 1331 9268 19}",
        "{FR1420041010050500013M02606}",
        "patient no. {0098812}",
        "claim {#88-1234567}",
        "{20210045678}",
        "member ID {XYZ123456789}",
        "NI number {QQ123456C}",
        "case {2021-CV-004567}",
        "IMEI {35-209900-176148-1}",
        "ref {7700123456}",
    ),
    "address": (
        "{15 Yemen Road}",
        "{2300 S Lamar Blvd, Apt 1207, Austin, TX 78704}",
        "{17 Cherry Tree Lane, London}",
        "{1 Infinite Loop, Cupertino, CA}",
        "{88 W 3rd St #5}",
        "{PO Box 991, Bend, OR 97709}",
        "{9 St. Andrew's Square, Edinburgh EH2 2AD}",
        "{Flat 12, 4 King Street}",
        "{Goethestraße 9, 60313 Frankfurt}",
        "{Schulweg 3a}",
        "{An der Alster 52}",
        "{8 place de la Bastille, 75011 Paris}",
        "{14 rue Victor Hugo}",
        "{Avenida de América 20}",
        "{20 Rosewood Ct., Dayton}",
        "{unit 7, 45 george st}",
        "{1200 elm avenue}",
        "{Portland, OR 97205}",
        "{SW1A 1AA}",
        "{44 Hilltop View Rd}",
    ),
    "date_of_birth": (
        "born {11/30/1995}",
        "b-day: {07.02.1999}",
        "DOB is {02-Feb-1988}",
        "was born {Jan 3rd 1970}",
        "born on a Friday, {13 March 1981}",
        "date of birth: {1979/12/01}",
        "my birthday's {August 9}",
        "birthdate {15 of May, 1990}",
        "geb. {3.4.1986}",
        "born in the night of {5 June 1992}",
        "birthday ({October 31st})",
        "turned 18 on {Sept 4, 2015}",
    ),
    "name": (
        "my ex-husband {Rodrigo}",
        "{Hannah}",
        "Dr. {Patel}",
        "my cousin {Tariq}",
        "Mr {Abernathy}",
        "{Kirsten}'s mom",
        "{Luke} and {Bethany}",
        "a kid named {Quincy}",
        "uncle {Femi}",
        "{Marie-Claire Dupont}",
        "{Pablo Núñez}",
        "{Ewa}",
        "my friend {Sunshine}",
        "my brother {devon}",
        "nurse {Okonkwo}",
        "{Terrell Washington}",
        "{Anya}",
        "Old {Petey}",
        "my manager {Gloria S.}",
        "Mrs. {Kowalczyk}",
        "{Tchaikovskaya}",
        "my partner, {Rin},",
        "{Cassidy}",
        "{Hyun-woo}",
        "{J.R.}",
        "{Nadia El-Masri}",
        "{MICHAEL}",
        "my therapist {Bjarne}",
        "{Winston}",
        "my stepdad {Cletus}",
    ),
}
_UNSEEN_PLACES = (
    "Honestly {} was the worst part of [month].",
    "they kept asking about {}, over and over",
    "It started with {}.",
    "I can't stop thinking of {} at [hour]...",
    "[day] was fine until {} came up again.",
    "(see {})",
    "tl;dr {} ruined my week",
    "\u201c{}\u201d is all I could say",
    "Not sure why, but {}?",
    "I am [age], and {} is in my head",
    "since [year]: {}!",
    "I take [drug] [dose] because of {}",
)

_PROSE = (
    "I take [dose] of [drug] every day at [hour].",
    "I am [age] and I have felt [feeling] since [year].",
    "It cost [price] and took [small] weeks.",
    "I posted this on r/[sub] in [month] [year].",
    "From [year] to [year] I barely slept [small] hours.",
    "Only [hundred] people came; [thousand] had signed up.",
    "On [day] at [hour] I felt [feeling] again.",
    "I can't sleep, I can't eat, nothing helps.",
)
#: Class to sentences that look a little like it and hold no personal data.
CLEAN: dict[str, tuple[str, ...]] = {
    "email": (
        "I stared at the dot on the wall at [hour].",
        "We met at work, at home, at night @ [hour].",
        "Meet me at [place] dot dot dot",
        "look at me.I am [feeling]",
        "He earned [price] @ 20 hours a week",
        *_PROSE[:4],
    ),
    "url": (
        "I feel [feeling].so I left.then I cried",
        "I was home.it was [hour]",
        "e.g. [drug], i.e. my meds, etc. at [hour]",
        "We broke up...again.no idea why",
        "She said no.me too",
        "v2.5.1 of the app, version 10.3",
        "I waited approx. [small] min.then left",
        *_PROSE[:4],
    ),
    "phone": (
        "It happened on 2012-05-03 at [hour].",
        "Between [year]-[year] I moved [small] times.",
        "I scored [small]/27 on the PHQ-9 and [small] on GAD-7.",
        "Call 988 or 116 123 now.",
        "Text HOME to 741741.",
        "You can dial 911, 112 or 999.",
        "The line is 1-800-273-8255 in the US.",
        "Dates: 12/05/2019, 13/05/2019, 14.06.2019",
        "The odds are 1 in [thousand], or [small]-[small] percent",
        "[hundred] [hundred] and [hundred]: I count all night",
        *_PROSE,
    ),
    "user": (
        "I found r/[sub] and r/[sub] last [month].",
        "and/or you/me, he/she, w/o my meds",
        "see you @ [hour]",
        "either/or, 24/7, [small]/10 would not recommend",
        "my therapist @ home",
        *_PROSE[:5],
    ),
    "user_labelled": (
        "[brand] is full of bots.",
        "My instagram is private now.",
        "I deleted snapchat, discord and twitter.",
        "On discord nobody answers.",
        "My username is gone, I deleted it.",
        "Reddit: where I feel [feeling]",
        "I use Facebook and Instagram too much",
        "Discord is my only social life",
        *_PROSE[:4],
    ),
    "number": (
        "It cost [price], then [price].",
        "I counted to [thousand] and then to [thousand].",
        "In [year], [year] and [year] it was worse.",
        "I have [small] cats, [small] kids and [price] of debt.",
        "Room [hundred], floor [small], bed [small].",
        "I ran 10.5 km in 59:30, at 150 bpm.",
        "My id says I am [age].",
        "[small]-[small]-[small] was the score",
        "0.1234567 of a percent",
        *_PROSE,
    ),
    "card": (
        "The years 2010 2011 2012 2013 were lost.",
        "I owe [price] on my card.",
        "My card was declined [small] times in [year].",
        "1000 2000 3000: I count steps",
        *_PROSE[:4],
    ),
    "iban": (
        "The DSM-5 and the ICD-10 list F32.1 and F33.2.",
        "PHQ9 and GAD7 were [small] and [small].",
        "COVID19 took [small] months of my life.",
        "MY LIFE IS OVER SINCE [year]",
        "I have GPA 3.5 and SAT 1400",
        *_PROSE[:4],
    ),
    "ip": (
        "Version 1.2.3 broke my app.",
        "Section 4.3.2.1a of the rules",
        "at 10:30:45 I woke, at 11:30 I slept",
        "I rate it 1.5 to 2.5.",
        "Chapter 1.2 says so::",
        *_PROSE[:4],
    ),
    "address": (
        "I walked down the street for [small] hours.",
        "It is a [small] minute drive to the court.",
        "I have [small] more miles down the road.",
        "There were [small] people in the park.",
        "I waited [small] minutes at Place de la gare",
        "I lost [small] kg in [month] [year].",
        "She is [age] and lives in [place].",
        "We have been on the road for [small] days.",
        "In [year] [place] was cold.",
        "Take 2 Way too strong pills",
        "The 5 Stages of grief",
        "I moved from [place] to [place] in [year]",
        *_PROSE[:5],
    ),
    "date_of_birth": (
        "I was born in [year].",
        "My son was born in [month].",
        "I started [drug] on 12/03/2019.",
        "On [month] 12, [year] we broke up.",
        "My birthday is next week.",
        "I was born with it, and [month] is the worst.",
        "My birthday was awful in [year]",
        "born and raised in [place]",
        *_PROSE[:4],
    ),
    "name_listed": (
        "I hope that God will help me in [month].",
        "[brand] and Netflix are all I have on [day].",
        "In [place] I took [drug] and felt [feeling].",
        "Does anyone else feel [feeling]? Edit: typo.",
        "Christmas and New Year's Eve are hard.",
        "I am Christian and my wife is Muslim.",
        "My Mom and Dad and my Grandma don't care.",
        "ADHD, BPD, PTSD and OCD: I have them all.",
        "I was diagnosed with Bipolar Disorder in [year].",
        "My therapist says CBT or DBT could help.",
        "Why Does My Family Hate Me? Long Post.",
        "My doctor said [drug] is safe.",
        "I feel like Frankenstein on Halloween.",
        "Thanks, Reddit. Love, a stranger",
        "Thank you God. Happy Easter everyone.",
        *_PROSE,
    ),
    "name_world": (
        "I am American, my parents are Chinese and Korean.",
        "I'm Bipolar and Borderline, so what?",
        "I am African American and from [place].",
        "My friend Facebook messaged me",
        "My [relation] I guess hates me.",
        "My mom, God rest her, hated [day]s.",
        "I'm Not Okay. I'm So Tired.",
        "- Depression\n- Anxiety\n- Insomnia",
        "Dear Diary, today I felt [feeling].",
        "Hi Everyone, hello World",
        "Hey Guys, long time lurker.",
        "We watched Game of Thrones on Netflix.",
        "I study Biology at University College.",
        *_PROSE[:4],
    ),
    "name_word": (
        "I [word] be fine, I guess.",
        "Will I ever get better? May I ask?",
        "I lost all hope and joy in [month].",
        "May was bad, June was worse, April is coming.",
        "By the grace of God I am here.",
        "Have faith, they say.",
        "Mark my words: it gets worse.",
        "Hope is gone. Joy too. Faith is for others.",
        "The bill came, [price] for one night.",
        "To be frank I feel [feeling].",
        "Summer is hard; Autumn and Winter are worse.",
        "I rose at [hour] and had a rob... a robe on.",
        "Will this end? Grant me peace!",
        "Grace is what I need. Rose bushes grow.",
        "Chase Bank and Bank of America called",
        "Hope this helps. Hope you are well.",
        *_PROSE[:4],
    ),
    "name_surname": (
        "My doctor. Then my teacher. Nobody helped.",
        "The Dr. said [dose] is fine.",
        "Doctor Who is my comfort show.",
        "I saw a Dr and he raised it to [dose].",
        "Miss you so much. Miss it all.",
        "Mr nice guy, that was me",
        "I hate my professor. She failed me.",
        *_PROSE[:4],
    ),
    "name_lower": (
        "my friend will not call",
        "my sister may come on [day]",
        "my boss said no, my ex said yes",
        "my brother can go, my mother is sad",
        "my best friend ever left",
        "my dad made me go, my son has it too",
        "my partner and i broke up",
        "my boyfriend just left",
        "my wife long ago said so",
        "my friend group hates me",
        "my therapist asked me how i feel",
        "my roommate never cleans",
        *_PROSE[:3],
    ),
}


@dataclass
class Score:
    """Counts for one class: how much was found, and what was found beside it."""

    planted: int = 0
    masked: int = 0
    findings: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of planted values of which every letter and digit is masked."""
        return self.masked / self.planted

    @property
    def precision(self) -> float:
        """Share of findings that lie, for the greater part, on a planted value."""
        return self.right / self.findings if self.findings else 1.0


def measure(
    find: Callable[[str], list[tuple[str, int, int]]], count: int = PER_CLASS
) -> dict[str, Score]:
    """Plant ``count`` values of every class among as many clean sentences and count the findings.

    Args:
        find: Text to findings (kind, start, end).
        count: Sentences with a value, and sentences without one, for each class.
    """
    planter = Planter()
    return {
        kind: _score(find, [*planter.planted(kind, count), *planter.clean(kind, count)])
        for kind in CLASSES
    }


def measure_unseen(
    find: Callable[[str], list[tuple[str, int, int]]], count: int = PER_CLASS
) -> dict[str, Score]:
    """Do the same with the values that no pattern was fitted to (without clean sentences)."""
    planter = Planter()
    return {kind: _score(find, planter.unseen(kind, count)) for kind in UNSEEN_VALUES}


def _score(find: Callable[[str], list[tuple[str, int, int]]], sentences: list[Planted]) -> Score:
    score = Score()
    for sentence in sentences:
        findings = find(sentence.text)
        score.planted += len(sentence.values)
        score.masked += sum(_covered(sentence.text, value, findings) for value in sentence.values)
        score.findings += len(findings)
        score.right += sum(_right(finding, sentence.values) for finding in findings)
    return score


def _marked(kind: str, template: str, value: str) -> Planted:
    """Put a value with braces into a sentence; what stands between them is what is planted."""
    spans = []
    text = template.partition("{}")[0]
    for part in re.split(r"([{}])", value):
        if part == "{":
            spans.append([len(text)])
        elif part == "}":
            spans[-1].append(len(text))
        else:
            text += part
    after = template.partition("{}")[2]
    return Planted(kind, text + after, tuple((start, end) for start, end in spans))


def missed(find: Callable[[str], list[tuple[str, int, int]]], kind: str) -> Iterator[Planted]:
    """Yield the sentences of one class that were not handled perfectly."""
    planter = Planter()
    for other in CLASSES:
        for sentence in (*planter.planted(other), *planter.clean(other)):
            findings = find(sentence.text)
            perfect = all(_covered(sentence.text, value, findings) for value in sentence.values)
            if other == kind and not (
                perfect and all(_right(hit, sentence.values) for hit in findings)
            ):
                yield sentence


def _covered(text: str, value: tuple[int, int], findings: list[tuple[str, int, int]]) -> bool:
    inside = {index for _, start, end in findings for index in range(start, end)}
    return all(index in inside for index in range(*value) if text[index].isalnum())


def _right(finding: tuple[str, int, int], values: tuple[tuple[int, int], ...]) -> bool:
    _, start, end = finding
    shared = sum(max(0, min(end, right) - max(start, left)) for left, right in values)
    return shared * 2 > end - start
