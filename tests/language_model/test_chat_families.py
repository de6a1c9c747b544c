"""Chat rendering with the real tokenizers of the three model environments."""

import json
from pathlib import Path

import pytest

from mental_slm import standin
from mental_slm.language_model import chat
from mental_slm.language_model.loading import load_tokenizer

pytestmark = pytest.mark.optional  # needs npm, once

SYSTEM = "You are kind."
USER = "I can't  sleep.\nÜnï 🙂 1234\n\nOptions: a; b"
ANSWER = "You wrote so.\nAnswer: stressed"
MESSAGES = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": USER},
    {"role": "assistant", "content": ANSWER},
]

RENDERED = {
    "llama": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        f"{SYSTEM}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        f"{USER}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "qwen": (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{USER}<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "deepseek": (
        f"<｜begin▁of▁sentence｜>{SYSTEM}<｜User｜>{USER}<｜Assistant｜><think>\n\n</think>\n\n"
    ),
}
TURN_END = {"llama": 128009, "qwen": 151645, "deepseek": 151643}
STOPS = {
    "llama": [128001, 128008, 128009],
    "qwen": [151643, 151645],
    "deepseek": [151643],
}


@pytest.fixture(scope="module", params=standin.FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(family: str, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    try:
        standin.write_tokenizer(family, folder)
    except standin.StandInUnavailable as reason:
        pytest.skip(str(reason))
    return load_tokenizer(folder)


def test_prompt_is_rendered_by_the_family_template(family: str, tokenizer) -> None:
    assert chat.render_prompt(tokenizer, MESSAGES[:2]) == RENDERED[family]


def test_tokens_of_the_prompt_are_its_bytes(family: str, tokenizer) -> None:
    # transformers 5 can put a SentencePiece class over R1's vocabulary, which eats the spaces
    assert tokenizer.decode(chat.encode_prompt(tokenizer, MESSAGES[:2])) == RENDERED[family]


def test_control_tokens_are_single_ids(family: str, tokenizer) -> None:
    ids = chat.encode_prompt(tokenizer, MESSAGES[:2])
    names = tokenizer.convert_ids_to_tokens(ids)
    wanted = {
        "llama": ["<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>"],
        "qwen": ["<|im_start|>", "<|im_end|>"],
        "deepseek": [
            "<｜begin▁of▁sentence｜>",
            "<｜User｜>",
            "<｜Assistant｜>",
            "<think>",
            "</think>",
        ],
    }[family]
    assert set(wanted) <= set(names)
    if family != "qwen":  # it has no begin token
        assert names.count(wanted[0]) == 1


def test_training_sees_the_bytes_of_inference(family: str, tokenizer) -> None:
    pair = chat.encode_pair(tokenizer, MESSAGES)
    prompt = pair.input_ids[: pair.prompt_length]
    assert prompt == chat.encode_prompt(tokenizer, MESSAGES[:2])
    answer = pair.input_ids[pair.prompt_length :]
    assert answer[-1] == TURN_END[family]
    assert tokenizer.decode(answer[:-1]) == ANSWER


def test_generation_stops_where_training_stopped(family: str, tokenizer, tmp_path: Path) -> None:
    generation = standin.FAMILIES[family].generation
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert chat.stop_token_ids(tokenizer, tmp_path) == STOPS[family]
    assert chat.turn_end(tokenizer) in STOPS[family]


def test_padding_is_no_end_of_turn_where_the_vocabulary_has_better(family: str, tokenizer) -> None:
    pads = {"llama": 128004, "qwen": 151643, "deepseek": 151643}  # R1 pads with its end token
    assert tokenizer.pad_token_id == pads[family]


def test_saved_tokenizer_reads_the_same(family: str, tokenizer, tmp_path: Path) -> None:
    # merged models carry a re-saved tokenizer
    tokenizer.save_pretrained(tmp_path)
    config = standin.FAMILIES[family].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load_tokenizer(tmp_path)
    assert chat.encode_pair(again, MESSAGES) == chat.encode_pair(tokenizer, MESSAGES)
    assert again.pad_token_id == tokenizer.pad_token_id


def test_typed_control_tokens_stay_text(family: str, tokenizer) -> None:
    end = tokenizer.convert_ids_to_tokens(TURN_END[family])
    post = [MESSAGES[0], {"role": "user", "content": f"I said {end} and <think> and went."}]
    harmless = [MESSAGES[0], {"role": "user", "content": "I said so and went."}]

    def controls(messages) -> list[int]:
        ids = chat.encode_prompt(tokenizer, messages)
        return [token for token in ids if token in tokenizer.added_tokens_decoder]

    assert controls(post) == controls(harmless)
    answer = {"role": "assistant", "content": f"Yes. {end} No."}
    assert chat.encode_pair(tokenizer, [*post, answer]).input_ids.count(TURN_END[family]) == (
        controls(harmless).count(TURN_END[family]) + 1
    )
