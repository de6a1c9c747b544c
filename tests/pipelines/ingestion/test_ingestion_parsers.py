import re

import pytest

from mental_slm.datasets.remote_file import SourceFileError
from mental_slm.pipelines.ingestion import parsers
from mental_slm.tasks import EMOTION_DIMENSIONS

SDCNL = ["", "title", "selftext", "author", "is_suicide", "url"]
ISEAR = (
    "ID|CITY|COUN|SUBJ|SEX|AGE|RELI|PRAC|FOCC|MOCC|FIEL|EMOT|WHEN|LONG|INTS|ERGO|TROPHO|TEMPER"
    "|EXPRES|MOVE|EXP1|EXP2|EXP10|PARAL|CON|EXPC|PLEA|PLAN|FAIR|CAUS|COPING|MORL|SELF|RELA|VERBAL"
    "|NEUTRO|Field1|Field3|Field2|MYKEY|SIT|STATE|"
)
STUDEMO = ["text_id", "annotator_id", *EMOTION_DIMENSIONS]


def isear_line(label="joy", text="I passed.", person="11001"):
    return "|".join([person, *["1"] * 35, label, "4", "3", f"{person}{label}", text, "1", ""])


def test_dreaddit_is_read_by_column_name_with_its_damage(write_raw):
    raw = write_raw(
        b"label,text,post_id,sentence_range,confidence\r\n"
        b'1,I don\x92t sleep,abc,"(0, 5)",0.8\r\n0,All is well,abc,"(5, 10)",0.5',
    )
    posts = parsers.read_dreaddit(raw, "train", "salt")
    assert list(posts.columns) == list(parsers.POST_COLUMNS)
    assert posts["text"].tolist() == ["I don\ufffdt sleep", "All is well"]
    assert posts["label"].tolist() == ["yes", "no"] and posts["label_raw"].tolist() == ["1", "0"]
    assert posts["split"].tolist() == ["train"] * 2
    assert posts["flags"].tolist() == [[], ["low_agreement"]]


def test_record_ids_depend_on_file_and_row_only(write_raw):
    first = parsers.read_depseverity(write_raw([["text", "label"], ["a b", "mild"]]))
    again = parsers.read_depseverity(write_raw([["label", "text"], ["severe", "c"], ["mild", "d"]]))
    assert first["record_id"][0] == again["record_id"][0] != again["record_id"][1]
    assert re.fullmatch(r"DepSeverity-[0-9a-f]{16}", first["record_id"][0])


def test_people_and_posts_leave_only_as_salted_hashes(write_raw):
    raw = write_raw(
        [
            SDCNL,
            ["0", "Title", "Body", "some_name", "1", "https://example.org/post"],
            ["1", "Other", "Words", "some_name", "0", "https://example.org/next"],
            ["2", "Third", "More", "[deleted]", "0", "https://example.org/last"],
        ]
    )
    posts = parsers.read_sdcnl(raw, "train", "salt")
    assert "some_name" not in posts.to_csv() and "example.org" not in posts.to_csv()
    assert posts["group_id"][0] == posts["group_id"][1]
    assert posts["group_id"].isna().tolist() == [False, False, True]
    other_salt = parsers.read_sdcnl(raw, "train", "other")
    assert other_salt["group_id"][0] != posts["group_id"][0]


def test_sdcnl_reads_title_and_body_and_drops_the_placeholder(write_raw):
    raw = write_raw(
        [
            SDCNL,
            ["0", "Title", "First line\nsecond", "a", "1", "u"],
            ["1", "Only a title", "emptypost", "b", "0", "u"],
        ]
    )
    posts = parsers.read_sdcnl(raw, "test", "salt")
    assert posts["text"].tolist() == ["Title\n\nFirst line\nsecond", "Only a title"]
    assert posts["label"].tolist() == ["suicidal", "depression"]
    assert posts["repairs"].tolist() == [[], ["title_only"]]


def test_dr_takes_the_leading_word_of_the_response_and_nothing_else(write_raw):
    raw = write_raw([["post", "question", "response"], ["Post: I feel low ", "?", "Yes. A model"]])
    posts = parsers.read_dr(raw, "val")
    assert posts["text"].tolist() == ["I feel low"]
    assert posts["label_raw"].tolist() == ["yes"]
    assert "A model" not in posts.to_csv()


def test_dr_test_cuts_at_the_last_question(write_raw):
    query = "Post: Question: who am I? Question: Does the poster suffer from depression? "
    posts = parsers.read_dr_test(write_raw([["query", "gpt-3.5-turbo"], [query, "no. Because"]]))
    assert posts["text"].tolist() == ["Question: who am I?"]
    assert posts["label"].tolist() == ["no"]


def test_isear_keeps_pipes_quotes_and_line_breaks_apart(write_raw):
    lines = [
        ISEAR,
        isear_line(text='When she said \\"go\\", I left.'),
        isear_line("fear", "firstáline | second"),
        isear_line("guilt", "[ No response.]", person="11002"),
    ]
    posts = parsers.read_isear(write_raw("\n".join(lines) + "\n", "isear.csv", rows=3), "salt")
    assert [" ".join(text.split()) for text in posts["text"]] == [
        'When she said "go", I left.',
        "first line second",
        "[ No response.]",
    ]
    assert posts["label"].tolist() == ["joy", "fear", "guilt"]
    assert posts["repairs"].tolist() == [[], ["isear_linebreak"], []]
    assert posts["flags"].tolist() == [[], [], ["bracketed"]]
    assert posts["group_id"][0] == posts["group_id"][1] != posts["group_id"][2]
    assert posts["split"].isna().all() and set(posts["split_source"]) == {"derived"}


def test_studemo_ratings_become_whole_numbers(write_raw):
    raw = write_raw([STUDEMO, ["7", "2", *["1.0"] * 8, "-3.0", "3.0"]])
    ratings = parsers.read_studemo_ratings(raw)
    assert ratings["valence"].tolist() == [-3] and set(ratings.dtypes.astype(str)) == {"int64"}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (parsers.read_depseverity, "text,severity\r\na,mild\r\n", "missing column label"),
        (parsers.read_depseverity, "", "is empty"),
        (
            parsers.read_depseverity,
            "text,label\r\na b,mild\r\nc d,Mild\r\n",
            r"row 1, column label: unknown label 'Mild', allowed: minimum, mild, moderate, severe",
        ),
        (parsers.read_depseverity, "text,label\r\na,b,mild\r\n", r"row 0 \(line 2\) has 3 fields"),
        (parsers.read_depseverity, "text,label\r\nmild\r\n", r"row 0 \(line 2\) has 1 fields"),
        (
            parsers.read_depseverity,
            'text,label\r\n"a"b,mild\r\n',
            r"row 0 \(line 2\) cannot be read as CSV",
        ),
        (parsers.read_depseverity, b"text,label\r\ncaf\xe9,mild\r\n", "byte 15 is not UTF-8"),
        (
            lambda raw: parsers.read_dr(raw, "train"),
            "post,response\r\nPost: a,yes\r\nPost: b,perhaps\r\n",
            "row 1, column response does not begin with yes or no",
        ),
        (
            lambda raw: parsers.read_dr(raw, "train"),
            "post,response\r\na,yes\r\n",
            "row 0, column post does not begin with",
        ),
        (
            lambda raw: parsers.read_isear(raw, "salt"),
            f"{ISEAR}\n{isear_line()}\n1|2|3\n",
            "row 1 has 3 fields instead of 43",
        ),
        (
            lambda raw: parsers.read_isear(raw, "salt"),
            f"{ISEAR}\n{isear_line('envy')}\n",
            "row 0, column Field1: unknown label 'envy'",
        ),
        (
            parsers.read_studemo_ratings,
            [STUDEMO, ["7", "2", *["1.0"] * 8, "-4.0", "3.0"]],
            r"row 0, column valence: value '-4.0' is not a whole number from -3 to 3",
        ),
        (
            parsers.read_studemo_ratings,
            [STUDEMO, *[["7", "2", *["1.0"] * 10]] * 2],
            "row 1 repeats column text_id and annotator_id of row 0",
        ),
        (
            parsers.read_studemo_texts,
            "text_id,text\r\nseven,words\r\n",
            "row 0, column text_id: value 'seven' is not a whole number",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name_and_row(write_raw, read, content, message):
    raw = write_raw(content, "bad.csv") if content else empty(write_raw)
    with pytest.raises(SourceFileError, match=message) as error:
        read(raw)
    assert "bad.csv" in str(error.value)


def empty(write_raw):
    raw = write_raw("text,label\r\n", "bad.csv")
    raw.filepath.write_bytes(b"")
    return raw


def test_a_lost_row_is_noticed(write_raw):
    raw = write_raw("text,label\r\na b,mild\r\n", rows=2)
    with pytest.raises(SourceFileError, match=r"1 rows, but the catalog says 2"):
        parsers.read_depseverity(raw)
