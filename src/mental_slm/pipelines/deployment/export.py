"""From a model folder to an ONNX graph with a key-value cache.

torch's exporter spends a minute on 30 layers that differ in nothing but their weights (measured for
a 135M model on one core). Here it sees a decoder of one layer; the graph of that layer is then
copied once per layer, and the weights flow one by one from the safetensors files into the ONNX data
file. Time and memory no longer depend on depth: the peak is the largest single weight.

The exported graph has plain ONNX operators only. Names follow the common convention: inputs
``input_ids`` and ``past_key_values.<i>.{key,value}``, outputs ``logits`` and
``present.<i>.{key,value}``.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from mental_slm.pipelines.deployment.weights import WeightFiles

GRAPH_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
FAMILIES = ("llama", "qwen2")
LAYER_INPUTS = ("hidden", "cos", "sin", "mask")
#: Rotary variants whose frequencies do not depend on the length of the text.
FIXED_ROTARY = ("default", "llama3", "linear", "yarn")


def export_decoder(model_folder: Path, target: Path, opset: int, log_file: Path) -> None:
    """Export a Llama or Qwen2 model to ``target/model.onnx`` with its weights beside the graph.

    Args:
        model_folder: In the Hugging Face format.
        target: An existing, empty folder.
        opset: Version of the ONNX operator set.
        log_file: Receives what torch's exporter says.

    Raises:
        ValueError: A family or a setting the decoder does not compute; names the config key.
    """
    import onnx

    config = read_config(model_folder)
    weights = WeightFiles(model_folder)
    tied = bool(config.tie_word_embeddings) or "lm_head.weight" not in weights
    with exporter_noise_to(log_file):
        unit = _export_unit(config, weights, tied, opset)
    model = _stack_layers(unit, config.num_hidden_layers)
    _attach_weights(model.graph, weights)
    save_graph(model, target)
    onnx.checker.check_model(str(target / GRAPH_FILE))


def read_config(model_folder: Path) -> Any:
    """Load the config and make sure that the decoder computes this model.

    Raises:
        ValueError: Names the config key.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_folder, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"{model_folder}/config.json: model_type {config.model_type!r} cannot be exported; "
            f"supported: {', '.join(FAMILIES)}"
        )
    rotary = (config.rope_parameters or {}).get("rope_type", "default")
    unsupported = {
        "hidden_act": (config.hidden_act, config.hidden_act != "silu"),
        "rope_parameters.rope_type": (rotary, rotary not in FIXED_ROTARY),
        "use_sliding_window": (True, bool(getattr(config, "use_sliding_window", False))),
    }
    for key, (value, wrong) in unsupported.items():
        if wrong:
            raise ValueError(f"{model_folder}/config.json: {key} = {value!r} cannot be exported")
    return config


def save_graph(model: Any, target: Path) -> None:
    """Write graph and weights; the weights lie in one file beside the graph, whatever their size.

    A single protobuf ends at 2 GB, which the embedding of a 3B model alone comes near to.
    """
    import onnx_ir as ir

    ir.save(
        model,
        target / GRAPH_FILE,
        external_data=DATA_FILE,
        max_workers=1,
        max_in_flight_bytes=1,  # one weight in memory at a time
    )


@contextmanager
def exporter_noise_to(log_file: Path) -> Iterator[None]:
    """Send what torch's exporter prints, logs and warns to a file instead of the terminal."""
    noise = io.StringIO()
    handler = logging.StreamHandler(noise)
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    before = [(known, known.handlers[:], known.propagate) for known in loggers]
    for known in loggers:
        known.handlers, known.propagate = [handler], False
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield
    finally:
        for known, handlers, propagate in before:
            known.handlers, known.propagate = handlers, propagate
        log_file.write_text(noise.getvalue(), "utf-8")


def _export_unit(config: Any, weights: WeightFiles, tied: bool, opset: int) -> Any:
    """Export the one-layer decoder and return its graph as an ``onnx_ir.Model``."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from mental_slm.pipelines.deployment.decoder import Decoder, head_size

    prefix = "model.layers.0."
    layer_weights = {name.removeprefix(prefix) for name in weights.names() if prefix in name}
    decoder = Decoder(config, layer_weights, tied, LlamaRotaryEmbedding(config)).eval()
    batch, sequence, past = 2, 3, 5  # any sizes but 0 and 1, which torch.export would freeze
    cache = torch.zeros(batch, config.num_key_value_heads, past, head_size(config))
    batch_dim, sequence_dim, past_dim = (
        torch.export.Dim(name) for name in ("batch", "sequence", "past")
    )
    with torch.no_grad():
        program = torch.onnx.export(
            decoder,
            (torch.zeros(batch, sequence, dtype=torch.int64), cache, cache.clone()),
            input_names=["input_ids", "past_key", "past_value"],
            output_names=["logits", "key", "value", "hidden", "after", "cos", "sin", "mask"],
            dynamic_shapes={
                "input_ids": {0: batch_dim, 1: sequence_dim},
                "past_key": {0: batch_dim, 2: past_dim},
                "past_value": {0: batch_dim, 2: past_dim},
            },
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None  # only the old exporter returns None
    return program.model


def _stack_layers(unit: Any, layers: int) -> Any:
    """Copy the layer of a one-layer graph ``layers`` times; the rest is copied once."""
    import onnx_ir as ir

    source = {value.name: value for value in [*unit.graph.inputs, *unit.graph.outputs]}
    entry = _ancestors([source[name] for name in LAYER_INPUTS], stop=set())
    border = {id(source[name]) for name in LAYER_INPUTS}
    layer = _ancestors([source[name] for name in ("after", "key", "value")], stop=border) - entry
    nodes = list(unit.graph)
    copier = _Copier()
    inputs = [copier.declare(source["input_ids"], "input_ids")]
    caches = [
        (
            copier.declare(source["past_key"], f"past_key_values.{index}.key"),
            copier.declare(source["past_value"], f"past_key_values.{index}.value"),
        )
        for index in range(layers)
    ]
    copier.bind({source["past_key"]: caches[0][0], source["past_value"]: caches[0][1]})
    copier.copy((node for node in nodes if id(node) in entry), _keep_name)
    presents = []
    for index, (past_key, past_value) in enumerate(caches):
        copier.bind({source["past_key"]: past_key, source["past_value"]: past_value})
        copier.copy((node for node in nodes if id(node) in layer), _layer_namer(index))
        presents += [copier.renamed(source["key"], f"present.{index}.key")]
        presents += [copier.renamed(source["value"], f"present.{index}.value")]
        copier.bind({source["hidden"]: copier.of(source["after"])})
    rest = (node for node in nodes if id(node) not in entry | layer)
    copier.copy(rest, _keep_name)
    graph = ir.Graph(
        inputs=[*inputs, *(cache for pair in caches for cache in pair)],
        outputs=[copier.renamed(source["logits"], "logits"), *presents],
        nodes=copier.nodes,
        initializers=list(copier.initializers.values()),
        opset_imports=dict(unit.graph.opset_imports),
        name="decoder",
    )
    return ir.Model(graph, ir_version=unit.ir_version, producer_name="mental-slm")


class _Copier:
    """Copies nodes of one graph, remembering what each value has become."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._copies: dict[int, Any] = {}

    def declare(self, value: Any, name: str) -> Any:
        """Make a graph input like ``value``, called ``name``."""
        copy = _like(value, name)
        self._copies[id(value)] = copy
        return copy

    def bind(self, values: dict[Any, Any]) -> None:
        """Let later copies read other values in the place of those of the source graph."""
        for value, replacement in values.items():
            self._copies[id(value)] = replacement

    def of(self, value: Any) -> Any:
        """Return the latest copy of a value."""
        return self._copies[id(value)]

    def renamed(self, value: Any, name: str) -> Any:
        """Return the latest copy of a value under a new name."""
        copy = self.of(value)
        copy.name = name
        return copy

    def copy(self, nodes: Iterable[Any], namer: Callable[[str], str]) -> None:
        """Append copies of nodes, their values named by ``namer``."""
        import onnx_ir as ir

        for node in nodes:
            outputs = [_like(value, namer(value.name)) for value in node.outputs]
            self.nodes.append(
                ir.Node(
                    node.domain,
                    node.op_type,
                    inputs=[self._input(value, namer) for value in node.inputs],
                    attributes=list(node.attributes.values()),
                    outputs=outputs,
                    name=namer(node.name or node.op_type),
                )
            )
            for value, output in zip(node.outputs, outputs, strict=True):
                self._copies[id(value)] = output

    def _input(self, value: Any, namer: Callable[[str], str]) -> Any:
        if value is None:
            return None
        if not value.is_initializer():
            return self._copies[id(value)]
        name = namer(value.name) if value.name.startswith("layer.") else value.name
        if name not in self.initializers:
            self.initializers[name] = _like(value, name)
            self.initializers[name].const_value = value.const_value
        return self.initializers[name]


def _attach_weights(graph: Any, weights: WeightFiles) -> None:
    """Give each weight of the graph a tensor that is read from the files when it is written."""
    for name, value in graph.initializers.items():
        if name.startswith("layers.") or name in _OUTER_WEIGHTS:
            value.const_value = _lazy_weight(name, value.const_value, weights)


_OUTER_WEIGHTS = ("embed_tokens.weight", "norm.weight", "lm_head.weight")


def _lazy_weight(name: str, placeholder: Any, weights: WeightFiles) -> Any:
    import onnx_ir as ir

    file_name = name if name.startswith("lm_head.") else f"model.{name}"
    transpose = name.endswith(("_proj.weight", "lm_head.weight"))
    shape = weights.shape(file_name)
    if list(placeholder.shape) != (shape[::-1] if transpose else shape):
        raise ValueError(f"weight {file_name} has shape {shape}, its config says otherwise")
    return ir.LazyTensor(
        lambda: ir.Tensor(weights.read(file_name, transpose), name=name),
        dtype=ir.DataType.FLOAT,
        shape=placeholder.shape,
        name=name,
    )


def _ancestors(values: list[Any], stop: set[int]) -> set[int]:
    """Return the ids of all nodes that values depend on, not looking behind ``stop`` values."""
    found: set[int] = set()
    waiting = list(values)
    while waiting:
        node = waiting.pop().producer()
        if node is None or id(node) in found:
            continue
        found.add(id(node))
        waiting += [value for value in node.inputs if value is not None and id(value) not in stop]
    return found


def _like(value: Any, name: str) -> Any:
    import onnx_ir as ir

    return ir.Value(name=name, type=value.type, shape=value.shape)


def _keep_name(name: str) -> str:
    return name


def _layer_namer(index: int) -> Callable[[str], str]:
    return lambda name: f"layers.{index}.{name.removeprefix('layer.')}"
