"""Slots: the keys and values of many answers under way, each in a row of its own.

A batch of left-padded prompts has three costs that grow with it: padding, rows that are done but
stay until the longest is, and a cache that is copied whole for every new token (``DynamicCache``
concatenates; that was 46 % of a step of 20 rows, SmolLM2-135M, float32, one thread). Here every
answer has a slot: its tokens start at column 0, a new token is written where it belongs, and a slot
that falls free takes the next prompt.

No row is padded on the left, so a row meets the same numbers in the same columns whatever its
neighbours are; what lies behind its end is masked and adds exact zeros.
"""

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

#: Attention looks at whole blocks of columns, so that kernels meet few different widths.
COLUMNS = 64


class Slots:
    """Rows of keys and values for one model.

    Args:
        model: A causal language model in the Hugging Face format.
        rows: Number of slots.
        columns: Most tokens a slot may hold, prompt and answer together.

    Raises:
        ValueError: The model has layers with another kind of attention than to all tokens.
    """

    def __init__(self, model: Any, rows: int, columns: int):
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ValueError(
                f"{model.config._name_or_path}: its layers attend by {', '.join(sorted(kinds))}; "
                "generation here knows full attention only. Use another engine "
                "(evaluation.engine.name: vllm)"
            )
        self._model = model
        self._lengths: list[int] = []
        self._layers = [
            _SlotLayer(rows, -(-columns // COLUMNS) * COLUMNS)
            for _ in range(model.config.num_hidden_layers)
        ]
        self._cache = Cache(layers=[*self._layers])

    def __len__(self) -> int:
        """Return the number of slots in use; they are always the first ones."""
        return len(self._lengths)

    def admit(self, prompt: list[int]) -> torch.Tensor:
        """Read a prompt into the next slot and return the scores of what follows, shape (vocabulary).

        A prompt is read alone: there is nothing to pad, and reading is limited by arithmetic, not
        by memory, so that a batch would gain little.
        """
        from transformers import DynamicCache

        read = DynamicCache(config=self._model.config)
        logits = self._model(
            input_ids=torch.tensor([prompt], device=self._model.device),
            past_key_values=read,
            logits_to_keep=1,
        ).logits
        row = len(self._lengths)
        read_layers: list[Any] = read.layers
        for layer, whole in zip(self._layers, read_layers, strict=True):
            layer.fill(row, whole.keys[0], whole.values[0])
        self._lengths.append(len(prompt))
        following: torch.Tensor = logits[0, -1]
        return following

    def advance(self, tokens: list[int]) -> torch.Tensor:
        """Add one token to every slot in use and return the scores of what follows.

        Returns:
            Shape (slots in use, vocabulary).
        """
        device = self._model.device
        positions = torch.tensor(self._lengths, device=device)
        width = -(-(max(self._lengths) + 1) // COLUMNS) * COLUMNS
        for layer in self._layers:
            layer.aim(positions, width)
        visible = torch.arange(width, device=device) <= positions[:, None]
        logits = self._model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            attention_mask=visible[:, None, None, :],
            position_ids=positions[:, None],
            past_key_values=self._cache,
        ).logits
        self._lengths = [length + 1 for length in self._lengths]
        following: torch.Tensor = logits[:, -1]
        return following

    def release(self, row: int) -> None:
        """Free a slot; the last slot in use moves into its place."""
        last = len(self._lengths) - 1
        if row != last:
            for layer in self._layers:
                layer.move(last, row, self._lengths[last])
            self._lengths[row] = self._lengths[last]
        self._lengths.pop()


class _SlotLayer(CacheLayerMixin):
    """The keys and values of one layer, shape (rows, heads, columns, size of a head).

    ``update`` is what the model calls: it writes one token per row and returns the part that
    attention needs.
    """

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self._rows, self._columns = rows, columns
        self._positions = torch.empty(0)
        self._row_index = torch.empty(0)
        self._width = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def room(states: torch.Tensor) -> torch.Tensor:
            # zeros, because a masked column that held a NaN would spoil the sum all the same
            return states.new_zeros(self._rows, states.shape[-3], self._columns, states.shape[-1])

        self.keys, self.values = room(key_states), room(value_states)
        self.is_initialized = True

    def fill(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put the keys and values of a prompt, shape (heads, tokens, size), at the start of a row."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None and self.values is not None
        self.keys[row, :, : keys.shape[1]] = keys
        self.values[row, :, : values.shape[1]] = values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` columns of a row over another row."""
        assert self.keys is not None and self.values is not None
        for states in (self.keys, self.values):
            states[target, :, :length] = states[source, :, :length]

    def aim(self, positions: torch.Tensor, width: int) -> None:
        """Say where the next token of every row in use goes, and how many columns matter then."""
        self._positions, self._width = positions, width
        self._row_index = torch.arange(len(positions), device=positions.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None and self.values is not None
        rows = len(self._positions)
        self.keys[self._row_index, :, self._positions] = key_states[:, :, 0]
        self.values[self._row_index, :, self._positions] = value_states[:, :, 0]
        return self.keys[:rows, :, : self._width], self.values[:rows, :, : self._width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._width, 0

    def get_seq_length(self) -> int:
        return self._width

    def get_max_length(self) -> int:
        return self._columns
