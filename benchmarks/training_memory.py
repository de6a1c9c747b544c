"""How much GPU memory training takes, predicted on a machine without a GPU.

    python benchmarks/training_memory.py llama --tokens 768
    python benchmarks/training_memory.py deepseek --tokens 1024

What the backward pass keeps is measured, not guessed: one training step of a two-layer stand-in of
full width runs on the CPU with the project's own loss, and every tensor that autograd saves inside
the second decoder layer is counted once per storage. The first layer is left out, because its input
needs no gradient. The rest is arithmetic over the full model: NF4 with double quantisation takes
4.127 bits a weight, an adapter weight 16 bytes (float32 weight, gradient and two Adam moments), the
head's chunk two copies in float32. CUDA's own context (about 0.5 GB) and fragmentation come on top.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.standin import FAMILIES, make_standin

NF4_BYTES = 4.127 / 8
ADAPTER_BYTES = 16


def build(folder: Path) -> Any:
    """Load a stand-in in NF4 and put the default adapter on it, as the worker does."""
    import torch

    from mental_slm.training.config import TrainingOptions, WorkerConfig
    from mental_slm.training.worker import build_model

    nowhere = folder / "unused"
    config = WorkerConfig(
        base_folder=folder,
        base_digest="",
        base_reference=str(folder),
        train_file=nowhere,
        validation_file=nowhere,
        output_folder=nowhere,
        training=TrainingOptions(),
    )
    return build_model(config, torch.bfloat16)


def saved_bytes_per_layer(model: Any, tokens: int) -> int:
    """Run a forward pass over one packed row; return the bytes that one layer keeps for later."""
    import torch
    from peft.helpers import disable_input_dtype_casting

    from mental_slm.language_model.chat import EncodedPair
    from mental_slm.training.batches import PackedRows, collate
    from mental_slm.training.loss import answer_loss

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, Any] = {}  # holding the tensors keeps their addresses from being used twice
    marks: list[int] = []

    def count(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    def mark(*_: Any) -> None:
        marks.append(sum(storage.nbytes() for storage in kept.values()))

    layer = model.get_base_model().model.layers[1]
    layer.register_forward_pre_hook(mark)
    layer.register_forward_hook(mark)
    pair = EncodedPair(list(range(1000, 1000 + tokens // 4)), tokens // 8)
    row = collate([PackedRows([pair] * 4, [[0, 1, 2, 3]])[0]])
    with (
        disable_input_dtype_casting(model),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        answer_loss(model, row, torch.bfloat16)
    return marks[1] - marks[0]


def predict(family: str, tokens: int) -> dict[str, float]:
    """Return the parts of the memory in GB (1e9 bytes)."""
    from mental_slm.training.loss import CHUNK

    config = FAMILIES[family].config
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    with tempfile.TemporaryDirectory() as folder:
        model = build(make_standin(family, 2, Path(folder) / family))
        adapter = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        kept = saved_bytes_per_layer(model, tokens)
    embeddings = config["vocab_size"] * width * (1 if config["tie_word_embeddings"] else 2)
    return {
        "linear layers in NF4": linear_weights(config) * NF4_BYTES / 1e9,
        "embeddings and head, bfloat16": embeddings * 2 / 1e9,
        "adapter, gradient, Adam": adapter / 2 * layers * ADAPTER_BYTES / 1e9,
        "kept for the backward pass": kept * layers / 1e9,
        "one chunk of logits": CHUNK * config["vocab_size"] * 4 * 2 / 1e9,
    }


def linear_weights(config: dict[str, Any]) -> int:
    """Return the number of weights in all linear layers of the decoder, without the head."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", width // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer = 2 * width * queries + 2 * width * keys + 3 * width * inner
    return int(config["num_hidden_layers"] * layer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the parts and their sum."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", choices=[*FAMILIES])
    parser.add_argument("--tokens", type=int, default=1024, help="tokens per micro-batch")
    options = parser.parse_args(arguments)
    parts = predict(options.family, options.tokens)
    print(f"{FAMILIES[options.family].hub_id}, {options.tokens} tokens per micro-batch, in GB")
    for name, size in [*parts.items(), ("sum", sum(parts.values()))]:
        print(f"{name:<32}{size:>6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
