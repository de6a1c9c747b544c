"""GGUF files for llama.cpp, written for the Llama and Qwen2 families with the format's own package.

Names, types and the layout follow the format's description and llama.cpp's conversion: rows of query
and key weights are reordered for Llama (its rotary positions turn neighbours, ours turn halves), and
Llama 3's rotary scaling becomes a tensor of factors. Weights flow from the safetensors files one by
one. What llama.cpp does with a text before it merges bytes has a name there; only those that the
three families need are known here, and another tokenizer is refused.
"""

import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mental_slm.language_model.chat import turn_end
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.pipelines.deployment.cpu.template import expected_tokens, standalone_template
from mental_slm.pipelines.deployment.weights import WeightFiles
from mental_slm.references import ModelRef

Array = np.ndarray[Any, Any]

#: Values that share one scale in q8_0 and q4_0.
BLOCK = 32

_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_WORDS = _LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")

#: What cuts a text into words, by llama.cpp's name for it: steps of a pre-tokenizer.
WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "gpt-2": (("ByteLevel", "words"),),
    "smollm": (("Digits", ""), ("ByteLevel", "words")),
    "llama-bpe": (("Split", _LLAMA3_WORDS), ("ByteLevel", "")),
    "qwen2": (("Split", _QWEN2_WORDS), ("ByteLevel", "")),
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file.

    Attributes:
        name: In the file.
        weight: In the model; empty for the rotary factors.
        shape: Rows first.
        kind: Name of the format's data type.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    kind: str


def write_file(model: ModelRef, path: Path, precision: str) -> None:
    """Write a model as GGUF.

    Args:
        model: Llama or Qwen2.
        path: The file to make.
        precision: ``f16``, ``q8_0`` or ``q4_0``; norms and biases stay float32, and q4_0 keeps
            embedding and head in q8_0.

    Raises:
        ValueError: The architecture, the rotary scaling or the tokenizer has no counterpart; names
            the config key.
    """
    import gguf

    config = json.loads((model.path / "config.json").read_text("utf-8"))
    weights = WeightFiles(model.path)
    entries = [*_plan(config, weights, precision)]
    writer = gguf.GGUFWriter(path, config["model_type"])
    _describe(writer, model.name, config, precision)
    _add_tokenizer(writer, model.path, config["vocab_size"])
    for entry in entries:
        kind = gguf.GGMLQuantizationType[entry.kind]
        held = (
            gguf.quant_shape_to_byte_shape(entry.shape, kind) if _is_packed(kind) else entry.shape
        )
        dtype = {"F32": np.float32, "F16": np.float16}.get(entry.kind, np.uint8)
        size = math.prod(held) * np.dtype(dtype).itemsize
        writer.add_tensor_info(entry.name, held, np.dtype(dtype), size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry in entries:
        kind = gguf.GGMLQuantizationType[entry.kind]
        values = _values(entry, config, weights)
        writer.write_tensor_data(gguf.quants.quantize(values, kind))
    writer.close()


def rebuild_tokenizer(fields: Mapping[str, Any]) -> Any:
    """Build a tokenizer from what a file says, as llama.cpp would, without the model's own files.

    Args:
        fields: Of a ``GGUFReader``.

    Returns:
        A ``tokenizers.Tokenizer``.
    """
    from gguf import TokenType
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    name = fields["tokenizer.ggml.pre"].contents()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    whole_words_first = name == "llama-bpe"
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole_words_first)
    )
    made = {
        "Digits": lambda _: pre_tokenizers.Digits(individual_digits=True),
        "Split": lambda words: pre_tokenizers.Split(Regex(words), "isolated"),
        "ByteLevel": lambda words: pre_tokenizers.ByteLevel(False, use_regex=bool(words)),
    }
    steps = [made[step](words) for step, words in WORDS[name]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == TokenType.CONTROL)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ]
    )
    return tokenizer


def check_prompts(path: Path, model_folder: Path) -> None:
    """Compare what a file says about prompts with the trained model.

    Raises:
        ValueError: Another chat template, another stop token, or other tokens.
    """
    from gguf import GGUFReader

    trained = load_tokenizer(model_folder)
    fields = GGUFReader(path).fields
    if fields["tokenizer.chat_template"].contents() != standalone_template(trained):
        raise ValueError(f"{path.name}: another chat template than the trained model's")
    if fields["tokenizer.ggml.eos_token_id"].contents() != turn_end(trained):
        raise ValueError(f"{path.name}: another end of turn than the trained model's")
    own = rebuild_tokenizer(fields)
    for text, ids in expected_tokens(trained):
        if own.encode(text, add_special_tokens=False).ids != ids:
            raise ValueError(f"{path.name}: cuts a prompt into other tokens than the trained model")


def load_back(path: Path, model_folder: Path) -> Any:
    """Load the weights of a file into transformers, dequantised to float32.

    The config is the model's own: transformers does not read Llama 3's rotary scaling from a GGUF.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with redirect_stderr(io.StringIO()):  # its bar has no switch of its own
        model: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            config=AutoConfig.from_pretrained(model_folder),
            dtype=torch.float32,
        )
    return model.eval()


def find_words(folder: Path) -> str:
    """Return llama.cpp's name for how a model's tokenizer cuts a text into words.

    Raises:
        ValueError: It has none that is known here.
    """
    found = json.loads((folder / "tokenizer.json").read_text("utf-8"))["pre_tokenizer"] or {}
    steps = found.get("pretokenizers", [found])
    read = []
    for step in steps:
        kind = step.get("type")
        if kind == "ByteLevel" and not step.get("add_prefix_space"):
            read.append((kind, "words" if step.get("use_regex", True) else ""))
        elif kind == "Digits" and step.get("individual_digits"):
            read.append((kind, ""))
        elif kind == "Split" and "Regex" in step["pattern"] and not step.get("invert"):
            read.append((kind, step["pattern"]["Regex"]))
        else:
            read.append((str(kind), "?"))
    for name, known in WORDS.items():
        if tuple(read) == known:
            return name
    raise ValueError(
        f"{folder}/tokenizer.json: llama.cpp has no name for its pre_tokenizer that is known here; "
        "leave GGUF out with --params deployment.cpu.gguf=[]"
    )


def _plan(config: dict[str, Any], weights: WeightFiles, precision: str) -> Iterator[Entry]:
    import gguf

    architecture = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}.get(
        config["model_type"]
    )
    if architecture is None:
        raise ValueError(
            f"config.json: model_type {config['model_type']} is neither llama nor qwen2"
        )
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    if _rotary(config).get("rope_type", "default") == "llama3":
        yield Entry("rope_freqs.weight", "", (_head_size(config) // 2,), "F32")
    for weight in weights.names():
        if weight == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        name = names.get_name(weight, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ValueError(f"{weight}: the format has no name for this weight")
        shape = tuple(weights.shape(weight))
        yield Entry(name, weight, shape, _kind(name, shape, precision))


def _kind(name: str, shape: tuple[int, ...], precision: str) -> str:
    if len(shape) == 1:
        return "F32"
    if shape[-1] % BLOCK:
        return "F16"  # rows are cut into whole blocks
    is_vocabulary = name.startswith(("token_embd", "output."))
    return "Q8_0" if precision == "q4_0" and is_vocabulary else precision.upper()


def _is_packed(kind: Any) -> bool:
    return kind.name not in ("F32", "F16")


def _values(entry: Entry, config: dict[str, Any], weights: WeightFiles) -> Array:
    if not entry.weight:
        return _rotary_factors(config)
    values = weights.read(entry.weight)
    if config["model_type"] == "llama":
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        for part, key in heads.items():
            if f".{part}." in entry.weight:
                return _interleave(values, config[key])
    return values


def _interleave(values: Array, heads: int) -> Array:
    """Put the two halves of each head's rows in turn, as llama.cpp's rotation of Llama wants them."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _rotary_factors(config: dict[str, Any]) -> Array:
    """Return by what each rotary frequency is divided in Llama 3's scaling.

    Long waves are stretched by ``factor``, short ones kept, those between blended (as in
    transformers' ``rope_type: llama3``).
    """
    rotary = _rotary(config)
    size = _head_size(config)
    low, high = rotary["low_freq_factor"], rotary["high_freq_factor"]
    known = rotary["original_max_position_embeddings"]
    waves = 2 * np.pi * rotary["rope_theta"] ** (np.arange(0, size, 2) / size)
    blend = np.clip((known / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / rotary["factor"] + blend)).astype(np.float32)


def _describe(writer: Any, name: str, config: dict[str, Any], precision: str) -> None:
    import gguf

    rotary = _rotary(config)
    if (scaling := rotary.get("rope_type", "default")) not in ("default", "llama3"):
        raise ValueError(f"config.json: rope_type {scaling} is neither default nor llama3")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type({"f16": 1, "q8_0": 7, "q4_0": 2}[precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rotary["rope_theta"])
    size = _head_size(config)
    writer.add_rope_dimension_count(size)
    writer.add_key_length(size)
    writer.add_value_length(size)


def _add_tokenizer(writer: Any, folder: Path, size: int) -> None:
    from gguf import TokenType

    tokenizer = load_tokenizer(folder)
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    added = tokenizer.added_tokens_decoder
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, index in model["vocab"].items():
        tokens[index], types[index] = token, int(TokenType.NORMAL)
    for index, token in added.items():
        kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
        tokens[index], types[index] = str(token.content), int(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(find_words(folder))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    )
    writer.add_eos_token_id(turn_end(tokenizer))
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)  # the chat template brings its own
    writer.add_add_space_prefix(False)
    writer.add_chat_template(standalone_template(tokenizer))


def _rotary(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary settings in the spelling of transformers 5, whichever the config has."""
    if "rope_parameters" in config:
        return dict(config["rope_parameters"])
    scaling = config.get("rope_scaling") or {}
    return {"rope_type": "default", **scaling, "rope_theta": config.get("rope_theta", 10000.0)}


def _head_size(config: dict[str, Any]) -> int:
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(size)
