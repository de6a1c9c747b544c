"""The decoder with fixed shapes that a phone's NPU takes.

Two graphs over the same weights: ``prompt`` reads a block of n tokens (AR-n), ``decode`` one token
(AR-1). Both take the keys and values of ``context - block`` earlier positions and return those of
the new ones; who runs them keeps the cache (:mod:`.runner`). Positions (cosine and sine) and
the mask are inputs, so that a graph knows nothing of where it stands in the text.

What the form of the graph is for:

* Every linear layer is a convolution with a 1x1 kernel between two transposes. Convolutions are
  what ONNX Runtime's quantiser and Qualcomm's NPU quantise per output channel (a product is
  quantised with one scale for all channels, which costs four bits dearly), and the transposes
  vanish in the NPU's own layout.
* Root-mean-square norms are ``RMSNormalization`` nodes (opset 23): as single operators their
  squares are never quantised, whose range would leave nothing of a quiet token.
* The mask is a moderate number, because 16 bits must hold masked and unmasked scores.
* The sine comes with its first half negated and the query projection holds the scale of attention,
  which saves two operators per layer.
* All tensors have the same names in both graphs, so that ranges found on one hold for the other.

A model is cut into parts of some layers, each a pair of graphs with one file of weights; building,
quantising and running take one part at a time, so memory does not grow with depth.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mental_slm.pipelines.deployment.export import read_config
from mental_slm.pipelines.deployment.weights import WeightFiles
from mental_slm.storage import write_text

Array = np.ndarray[Any, Any]
Kind = Literal["prompt", "decode"]
KINDS: tuple[Kind, Kind] = ("prompt", "decode")

OPSET = 23  # the first with RMSNormalization
IR_VERSION = 11
MANIFEST_FILE = "static.json"
POSITIONS_FILE = "positions.npz"
#: What is added to a score that must not count: e^-100 of the largest weight, and still a range
#: that 16 bits divide into steps of 0.003.
MASKED = -100.0
ALIGNMENT = 4096  # of weights in their file, so that they can be mapped into memory


@dataclass(frozen=True)
class Geometry:
    """The sizes of a static decoder.

    Attributes:
        prompt_length: Tokens per block of the prompt graph.
        context: Positions in all: those of the cache and those of the block.
        layers: Number of layers.
        layers_per_part: How the layers are cut; the last part may have fewer.
        width: Of the hidden states.
        heads: Query heads.
        groups: Key and value heads.
        head_size: Width of a head.
        vocabulary: Rows of the embedding.
        epsilon: Of the norms.
    """

    prompt_length: int
    context: int
    layers: int
    layers_per_part: int
    width: int
    heads: int
    groups: int
    head_size: int
    vocabulary: int
    epsilon: float

    def block(self, kind: Kind) -> int:
        """Return the tokens per run of a graph."""
        return self.prompt_length if kind == "prompt" else 1

    def past(self, kind: Kind) -> int:
        """Return the positions of the cache that a graph takes."""
        return self.context - self.block(kind)

    def parts(self) -> list[range]:
        """Return the layers of each part."""
        starts = range(0, self.layers, self.layers_per_part)
        return [range(s, min(s + self.layers_per_part, self.layers)) for s in starts]


def graph_name(part: int, kind: Kind) -> str:
    """Return the name of a graph; its file adds ``.onnx``."""
    return f"part{part}_{kind}"


def weights_name(part: int) -> str:
    """Return the name of the file with the weights of both float graphs of a part."""
    return f"part{part}.data"


def build_static_decoder(
    model_folder: Path, target: Path, prompt_length: int, context: int, layers_per_part: int
) -> Geometry:
    """Write both graphs of every part, their weights, the position tables and a manifest.

    Args:
        model_folder: A Llama or Qwen2 model in the Hugging Face format.
        target: An existing, empty folder.
        prompt_length: Tokens per block of the prompt graph.
        context: Positions in all.
        layers_per_part: Layers per part; all of them for a single part.

    Raises:
        ValueError: A family or a setting the decoder does not compute, or a context the model was
            not made for; names the config key.
    """
    from mental_slm.pipelines.deployment.decoder import head_size

    config = read_config(model_folder)
    if context > config.max_position_embeddings:
        raise ValueError(
            f"{model_folder}/config.json: max_position_embeddings is "
            f"{config.max_position_embeddings}, a context of {context} was asked for"
        )
    geometry = Geometry(
        prompt_length=prompt_length,
        context=context,
        layers=config.num_hidden_layers,
        layers_per_part=min(layers_per_part, config.num_hidden_layers),
        width=config.hidden_size,
        heads=config.num_attention_heads,
        groups=config.num_key_value_heads,
        head_size=head_size(config),
        vocabulary=config.vocab_size,
        epsilon=config.rms_norm_eps,
    )
    weights = WeightFiles(model_folder)
    for part in range(len(geometry.parts())):
        _build_part(part, geometry, weights, target)
    cosine, sine = position_tables(config, context)
    np.savez(target / POSITIONS_FILE, cosine=cosine, sine=sine)
    write_manifest(target, geometry, {"mask": MASKED, "opset": OPSET})
    return geometry


def position_tables(config: Any, context: int) -> tuple[Array, Array]:
    """Return cosine and sine ``[context, head size]``; the first half of the sine is negated."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotary = LlamaRotaryEmbedding(config)
    half = torch.outer(torch.arange(context, dtype=torch.float32), rotary.inv_freq.float())
    scale = float(rotary.attention_scaling)
    cosine, sine = half.cos() * scale, half.sin() * scale
    return torch.cat((cosine, cosine), -1).numpy(), torch.cat((-sine, sine), -1).numpy()


def write_manifest(folder: Path, geometry: Geometry, facts: dict[str, Any]) -> None:
    """Write what a program needs to run the graphs of a folder."""
    manifest = {
        "geometry": asdict(geometry),
        "parts": [
            {
                "layers": list(layers),
                **{kind: f"{graph_name(part, kind)}.onnx" for kind in KINDS},
            }
            for part, layers in enumerate(geometry.parts())
        ],
        **facts,
    }
    write_text(folder / MANIFEST_FILE, json.dumps(manifest, indent=2) + "\n")


def read_geometry(folder: Path) -> Geometry:
    """Read the sizes of the graphs of a folder.

    Raises:
        ValueError: The manifest is missing or damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        return Geometry(**json.loads(path.read_text("utf-8"))["geometry"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no manifest of a static decoder ({error})") from error


def _build_part(part: int, geometry: Geometry, weights: WeightFiles, target: Path) -> None:
    import onnx

    store = _WeightStore(target / weights_name(part), weights)
    with store:
        for kind in KINDS:
            model = _PartGraph(part, kind, geometry, store).build()
            onnx.save_model(model, target / f"{graph_name(part, kind)}.onnx")
    for kind in KINDS:
        path = str(target / f"{graph_name(part, kind)}.onnx")
        onnx.checker.check_model(path)
        onnx.shape_inference.infer_shapes_path(path, path, strict_mode=True)


class _WeightStore:
    """Writes each weight of a part once, whichever of its graphs asks first."""

    def __init__(self, path: Path, weights: WeightFiles):
        self.weights = weights
        self._path = path
        self._tensors: dict[str, Any] = {}

    def __enter__(self) -> "_WeightStore":
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tensor(self, name: str, source: str, shape: list[int], scale: float = 1.0) -> Any:
        """Return an ONNX tensor that points at the weight in the file.

        Raises:
            ValueError: The model's files hold it in another size.
        """
        import onnx

        if name not in self._tensors:
            found = self.weights.shape(source)
            if int(np.prod(found)) != int(np.prod(shape)) or found[0] != shape[0]:
                raise ValueError(f"weight {source} has shape {found}, its config says {shape}")
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            offset = self._file.tell()
            content = np.ascontiguousarray(self.weights.read(source) * np.float32(scale))
            self._file.write(content.data)
            tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {"location": self._path.name, "offset": offset, "length": content.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            self._tensors[name] = tensor
        return self._tensors[name]


class _PartGraph:
    """Writes one graph of one part, node by node.

    Hidden states are ``[1, 1, block, width]``; heads are ``[1, heads, block, head size]``; keys
    are kept transposed, ``[1, groups, head size, positions]``, as the product with a query wants.
    """

    def __init__(self, part: int, kind: Kind, geometry: Geometry, store: _WeightStore):
        self._part, self._kind, self._sizes, self._store = part, kind, geometry, store
        self._block = geometry.block(kind)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def build(self) -> Any:
        """Return the model."""
        from onnx import helper

        parts = self._sizes.parts()
        layers, last = parts[self._part], self._part == len(parts) - 1
        x = self._embed() if self._part == 0 else self._hidden_input(layers.start)
        for name in ("cosine", "sine"):
            self._input(name, [1, 1, self._block, self._sizes.head_size])
        self._input("mask", [1, 1, self._block, self._sizes.context])
        for index in layers:
            x = self._layer(index, x)
        if last:
            self._head(x)
        else:
            shape = [1, 1, self._block, self._sizes.width]
            self._output(self._node("Identity", [x], hidden_name(layers.stop)), shape, first=True)
        graph = helper.make_graph(
            self._nodes,
            graph_name(self._part, self._kind),
            self._inputs,
            self._outputs,
            list(self._constants.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="mental-slm"
        )
        # shapes are inferred and there is nothing to fuse: the quantiser need not ask for it
        model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
        return model

    def _embed(self) -> str:
        from onnx import TensorProto

        sizes = self._sizes
        self._input("input_ids", [1, self._block], TensorProto.INT32)
        table = self._weight(
            "embed_tokens.weight", "model.embed_tokens.weight", [sizes.vocabulary, sizes.width]
        )
        rows = self._node("Gather", [table, "input_ids"], "embed_tokens.rows")
        return self._reshape(rows, [1, 1, self._block, sizes.width], "embed_tokens.output")

    def _hidden_input(self, first: int) -> str:
        name = hidden_name(first)
        self._input(name, [1, 1, self._block, self._sizes.width])
        return name

    def _layer(self, index: int, x: str) -> str:
        own = f"layers.{index}"
        normed = self._norm(x, f"{own}.input_layernorm")
        x = self._node("Add", [x, self._attention(index, normed)], f"{own}.attended")
        normed = self._norm(x, f"{own}.post_attention_layernorm")
        return self._node("Add", [x, self._mlp(f"{own}.mlp", normed)], f"{own}.output")

    def _attention(self, index: int, x: str) -> str:
        sizes, own = self._sizes, f"layers.{index}.self_attn"
        width, block = sizes.head_size, self._block
        stacked = sizes.heads // sizes.groups * block
        scale = sizes.head_size**-0.5
        query = self._heads(f"{own}.q_proj", x, sizes.heads, scale)
        query = self._reshape(
            self._rotate(query, f"{own}.q_rotated"), [1, sizes.groups, stacked, width], f"{own}.q"
        )
        key = self._rotate(self._heads(f"{own}.k_proj", x, sizes.groups), f"{own}.k_rotated")
        key = self._transpose(key, [0, 1, 3, 2], f"new_key_{index}")
        value = self._heads(f"{own}.v_proj", x, sizes.groups, output=f"new_value_{index}")
        keys, values = (
            self._extend(kind, index, new) for kind, new in (("key", key), ("value", value))
        )
        scores = self._node("MatMul", [query, keys], f"{own}.scores")
        grid = [sizes.groups, sizes.heads // sizes.groups, block, sizes.context]
        scores = self._reshape(scores, grid, f"{own}.scores_grid")
        masked = self._node("Add", [scores, "mask"], f"{own}.masked")
        shares = self._node("Softmax", [masked], f"{own}.shares", axis=-1)
        shares = self._reshape(
            shares, [1, sizes.groups, stacked, sizes.context], f"{own}.shares_flat"
        )
        mixed = self._node("MatMul", [shares, values], f"{own}.mixed")
        mixed = self._reshape(mixed, [1, sizes.heads, block, width], f"{own}.mixed_heads")
        mixed = self._transpose(mixed, [0, 2, 1, 3], f"{own}.mixed_rows")
        joined = self._reshape(mixed, [1, 1, block, sizes.heads * width], f"{own}.joined")
        return self._linear(f"{own}.o_proj", joined, sizes.width)

    def _extend(self, kind: str, index: int, new: str) -> str:
        """Put new keys or values behind those of the cache; both come in and go out of the graph."""
        sizes, positions = self._sizes, self._sizes.past(self._kind)
        turned = kind == "key"
        shapes = [
            [1, sizes.groups, *([sizes.head_size, n] if turned else [n, sizes.head_size])]
            for n in (positions, self._block)
        ]
        past = f"past_{kind}_{index}"
        self._input(past, shapes[0])
        self._output(new, shapes[1])
        return self._node("Concat", [past, new], f"{kind}s.{index}", axis=3 if turned else 2)

    def _mlp(self, own: str, x: str) -> str:
        inner = self._store.weights.shape(f"model.{own}.gate_proj.weight")[0]
        gate = self._linear(f"{own}.gate_proj", x, inner)
        up = self._linear(f"{own}.up_proj", x, inner)
        opened = self._node(
            "Mul", [gate, self._node("Sigmoid", [gate], f"{own}.sigmoid")], f"{own}.silu"
        )
        return self._linear(
            f"{own}.down_proj",
            self._node("Mul", [opened, up], f"{own}.gated"),
            self._sizes.width,
        )

    def _head(self, x: str) -> None:
        sizes = self._sizes
        normed = self._norm(x, "norm")
        own = "lm_head.weight" in self._store.weights
        source = "lm_head.weight" if own else "model.embed_tokens.weight"
        self._convolve("lm_head", normed, source, None, sizes.vocabulary, "logits")
        self._output("logits", [1, 1, self._block, sizes.vocabulary], first=True)

    def _heads(self, name: str, x: str, heads: int, scale: float = 1.0, output: str = "") -> str:
        """Project and split: ``[1, heads, block, head size]``."""
        size = self._sizes.head_size
        flat = self._linear(name, x, heads * size, scale)
        split = self._reshape(flat, [1, self._block, heads, size], f"{name}.split")
        return self._transpose(split, [0, 2, 1, 3], output or f"{name}.heads")

    def _rotate(self, x: str, name: str) -> str:
        half, size = self._sizes.head_size // 2, self._sizes.head_size
        front = self._slice(x, 0, half, f"{name}.front")
        back = self._slice(x, half, size, f"{name}.back")
        swapped = self._node("Concat", [back, front], f"{name}.swapped", axis=3)
        straight = self._node("Mul", [x, "cosine"], f"{name}.straight")
        crossed = self._node("Mul", [swapped, "sine"], f"{name}.crossed")
        return self._node("Add", [straight, crossed], name)

    def _linear(self, name: str, x: str, outputs: int, scale: float = 1.0) -> str:
        source = f"model.{name}"
        bias = f"{source}.bias" if f"{source}.bias" in self._store.weights else None
        output = f"{name}.output"
        return self._convolve(name, x, f"{source}.weight", bias, outputs, output, scale)

    def _convolve(
        self,
        name: str,
        x: str,
        source: str,
        bias: str | None,
        outputs: int,
        output: str,
        scale: float = 1.0,
    ) -> str:
        inputs = self._store.weights.shape(source)[1]
        channels_first = self._transpose(x, [0, 3, 1, 2], f"{name}.input")
        operands = [
            channels_first,
            self._weight(f"{name}.weight", source, [outputs, inputs, 1, 1], scale),
        ]
        if bias:
            operands.append(self._weight(f"{name}.bias", bias, [outputs], scale))
        product = self._node("Conv", operands, f"{name}.product", kernel_shape=[1, 1])
        return self._transpose(product, [0, 2, 3, 1], output)

    def _norm(self, x: str, name: str) -> str:
        scale = self._weight(f"{name}.weight", f"model.{name}.weight", [self._sizes.width])
        return self._node(
            "RMSNormalization",
            [x, scale],
            f"{name}.output",
            axis=-1,
            epsilon=self._sizes.epsilon,
        )

    def _slice(self, x: str, start: int, stop: int, name: str) -> str:
        bounds = [self._integers(f"{name}.{k}", [v]) for k, v in (("start", start), ("stop", stop))]
        return self._node("Slice", [x, *bounds, self._integers("last_axis", [3])], name)

    def _reshape(self, x: str, shape: list[int], name: str) -> str:
        return self._node("Reshape", [x, self._integers(f"{name}.shape", shape)], name)

    def _transpose(self, x: str, order: list[int], name: str) -> str:
        return self._node("Transpose", [x], name, perm=order)

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{output}.node", **attributes)
        )
        return output

    def _weight(self, name: str, source: str, shape: list[int], scale: float = 1.0) -> str:
        self._constants[name] = self._store.tensor(name, source, shape, scale)
        return name

    def _integers(self, name: str, values: list[int]) -> str:
        from onnx import numpy_helper

        self._constants[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def _input(self, name: str, shape: list[int], dtype: int = 1) -> None:
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def _output(self, name: str, shape: list[int], first: bool = False) -> None:
        from onnx import TensorProto, helper

        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self._outputs.insert(0 if first else len(self._outputs), value)


def hidden_name(layer: int) -> str:
    """Return the name of the hidden states that enter a layer from another part."""
    return f"hidden_{layer}"


def cache_names(layers: range) -> Iterator[tuple[str, str]]:
    """Yield the names of the cache going in and coming out, key and value of each layer."""
    for index in layers:
        for kind in ("key", "value"):
            yield f"past_{kind}_{index}", f"new_{kind}_{index}"
