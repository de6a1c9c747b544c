"""How likely a model fills a form in which way, without letting it write anything.

A form is fixed text with slots between, and every slot has a list of values. Slot by slot, all values
are scored given the prompt and the form as filled so far; the likeliest value then stays in (greedy
teacher forcing on the model's own choice), and the next slot follows. The fixed text counts for
nothing: it is forced, as it is under a grammar.

A value's log-probability is summed over its tokens, from where the values part to the token that
holds the first character of the fixed text behind it; the latter tells ``1`` from ``1.5``.

Each slot is one forward pass over a batch of prompts. The values are branches of one row, each of
which sees the prompt, the form so far and itself (a tree mask, as in Miao et al. 2024); the branch
that was chosen is already in the cache when the next slot comes, and those that were not are hidden
from then on.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mental_slm.language_model.chat import encode_prompt
from mental_slm.language_model.generation import Prompt
from mental_slm.language_model.label_scoring import shares
from mental_slm.language_model.tokens import common_start


@dataclass(frozen=True)
class Form:
    """A text with slots.

    Attributes:
        pieces: The fixed texts, one more than there are slots; only the first may be empty.
        choices: The values of every slot.
    """

    pieces: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class FilledForm:
    """How a model fills a form.

    Attributes:
        key: The prompt's key.
        log_probabilities: Of every value of every slot (natural logarithm). Their sum tells how
            much of the model's belief lies on the listed values at all.
    """

    key: str
    log_probabilities: tuple[tuple[float, ...], ...]

    @property
    def probabilities(self) -> tuple[tuple[float, ...], ...]:
        """For every slot, the shares of its values: the model must take one of them."""
        return tuple(shares(slot) for slot in self.log_probabilities)

    @property
    def chosen(self) -> tuple[int, ...]:
        """The places of the likeliest values, the first of equals."""
        return tuple(slot.index(max(slot)) for slot in self.log_probabilities)


def fill_forms(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], form: Form, batch_size: int
) -> Iterator[FilledForm]:
    """Score all values of all slots for many prompts, batch by batch.

    In float32 the batch size changes no score beyond rounding.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Of the same folder, fast.
        prompts: In any order.
        form: The same for all prompts.
        batch_size: Prompts per batch.

    Yields:
        Filled forms as they are finished, in order of prompt length.

    Raises:
        ValueError: The model gives a score that is not a number.
    """
    encoded = sorted(
        ((encode_prompt(tokenizer, prompt.messages), prompt.key) for prompt in prompts),
        key=lambda item: (len(item[0]), item[1]),
    )
    for start in range(0, len(encoded), batch_size):
        batch = encoded[start : start + batch_size]
        rows = _fill_batch(model, tokenizer, [ids for ids, _ in batch], form)
        for (_, key), slots in zip(batch, rows, strict=True):
            if not all(math.isfinite(value) for slot in slots for value in slot):
                raise ValueError(
                    f"the model's score of a value of {key} is not a number; its weights are "
                    "damaged, or it needs dtype float32"
                )
            yield FilledForm(key, tuple(slots))


def branch_ids(
    tokenizer: Any, form: Form, slot: int, filled: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Return the token ids of a slot's values after the form as filled so far.

    Whole answers are encoded, so that the ids are those of training whatever the vocabulary joins.

    Args:
        tokenizer: Fast, since it must tell where its tokens lie.
        form: The form.
        slot: Which slot.
        filled: The values of the slots before it.

    Returns:
        The ids that all values share, and what each goes on with, up to the token that holds the
        first character behind it.
    """
    before = "".join(
        piece + value for piece, value in zip(form.pieces, [*filled, ""], strict=False)
    )
    behind = form.pieces[slot + 1]
    if slot + 1 < len(form.choices):  # a token may reach into the next value
        behind += form.choices[slot + 1][0]
    encoded = tokenizer(
        [before + value + behind for value in form.choices[slot]],
        add_special_tokens=False,
        return_offsets_mapping=True,
    )
    answers = []
    for value, ids, places in zip(
        form.choices[slot], encoded.input_ids, encoded.offset_mapping, strict=True
    ):
        last = next(i for i, (_, end) in enumerate(places) if end > len(before + value))
        answers.append(list(ids[: last + 1]))
    shared = common_start(answers)
    return shared, [ids[len(shared) :] for ids in answers]


def _fill_batch(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], form: Form
) -> list[list[tuple[float, ...]]]:
    tree = _Tree(model, len(prompts))
    filled: list[list[str]] = [[] for _ in prompts]
    scores: list[list[tuple[float, ...]]] = [[] for _ in prompts]
    for slot, values in enumerate(form.choices):
        stems, branches = [], []
        for prompt, so_far in zip(prompts, filled, strict=True):
            shared, endings = branch_ids(tokenizer, form, slot, so_far)
            stems.append([*prompt, *shared])
            branches.append(endings)
        for row, row_scores in enumerate(tree.grow(stems, branches)):
            best = row_scores.index(max(row_scores))
            tree.keep(row, best)
            filled[row].append(values[best])
            scores[row].append(tuple(row_scores))
    return scores


class _Tree:
    """Rows of tokens in a model's cache, some of which branch.

    Only tokens on the path of their row are seen by what follows; the cache itself only grows.
    """

    def __init__(self, model: Any, rows: int):
        self._model = model
        self._cache: Any = None
        self._columns = 0  # in the cache
        self._paths: list[list[tuple[int, int]]] = [[] for _ in range(rows)]  # (column, token)
        self._branches: list[list[list[tuple[int, int]]]] = [[] for _ in range(rows)]

    def grow(
        self, stems: Sequence[list[int]], branches: Sequence[list[list[int]]]
    ) -> list[list[float]]:
        """Run what is new of the stems, and all branches, and return the branches' scores.

        Args:
            stems: For every row all tokens up to where its branches part.
            branches: For every row what each branch goes on with; its last token is predicted only.

        Returns:
            For every row the summed log-probability of every branch.
        """
        import torch

        new = [self._new_part(row, stem) for row, stem in enumerate(stems)]
        sizes = [
            len(ids) + sum(len(branch) - 1 for branch in row)
            for ids, row in zip(new, branches, strict=True)
        ]
        # rows end at the same column, so that what predicts something lies in the last few
        width = max(sizes)
        kept = max(size - len(ids) + 1 for size, ids in zip(sizes, new, strict=True))
        nodes = _Nodes.empty(len(stems), width, self._columns)
        predicting = [
            self._plant(nodes, row, width - sizes[row], new[row], branches[row])
            for row in range(len(stems))
        ]
        logits = self._run(nodes, kept)
        totals = torch.logsumexp(logits, dim=-1)
        self._columns += width
        return [
            [
                float((logits[row, places, ids] - totals[row, places]).sum())
                for ids, places in zip(
                    branches[row],
                    ([column - (width - kept) for column in columns] for columns in of_row),
                    strict=True,
                )
            ]
            for row, of_row in enumerate(predicting)
        ]

    def keep(self, row: int, branch: int) -> None:
        """Put a branch on the path of its row; the others are hidden from now on."""
        self._paths[row] += self._branches[row][branch]

    def _new_part(self, row: int, stem: list[int]) -> list[int]:
        """Return what the path of a row lacks of a stem, at least the last token.

        It predicts the branches. What the path holds beyond is hidden.
        """
        path = self._paths[row]
        known = len(common_start([[token for _, token in path], stem]))
        del path[min(known, len(stem) - 1) :]
        return stem[len(path) :]

    def _plant(
        self, nodes: "_Nodes", row: int, column: int, stem: list[int], branches: list[list[int]]
    ) -> list[list[int]]:
        """Lay the stem and then the branches into one row, from ``column`` on.

        Returns:
            For every branch, the columns that predict its tokens.
        """
        path = self._paths[row]
        for token in stem:
            nodes.add(row, column, token, [place for place, _ in path])
            path.append((self._columns + column, token))
            column += 1
        stem_end = column - 1
        predicting = []
        self._branches[row] = []
        for *planted, _ in branches:
            branch: list[tuple[int, int]] = []
            for token in planted:
                nodes.add(row, column, token, [place for place, _ in path + branch])
                branch.append((self._columns + column, token))
                column += 1
            self._branches[row].append(branch)
            predicting.append([stem_end, *range(column - len(planted), column)])
        return predicting

    def _run(self, nodes: "_Nodes", kept: int) -> Any:
        import torch

        device, dtype = self._model.device, self._model.dtype
        sees = torch.from_numpy(nodes.sees)
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
        with torch.inference_mode():
            output = self._model(
                input_ids=torch.from_numpy(nodes.ids).to(device),
                attention_mask=mask[:, None].to(device),
                position_ids=torch.from_numpy(nodes.positions).to(device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=kept,
            )
        self._cache = output.past_key_values
        return output.logits.float()


@dataclass(frozen=True)
class _Nodes:
    """One forward pass: ids and positions (rows, columns), and who sees what of cache and pass."""

    ids: Any
    positions: Any
    sees: Any

    @classmethod
    def empty(cls, rows: int, width: int, cached: int) -> "_Nodes":
        import numpy as np

        ids = np.zeros((rows, width), dtype=np.int64)
        sees = np.zeros((rows, width, cached + width), dtype=bool)
        # padding, like every token, sees itself: attention to nothing would not be a number
        sees[:, range(width), range(cached, cached + width)] = True
        return cls(ids, np.zeros_like(ids), sees)

    def add(self, row: int, column: int, token: int, seen: list[int]) -> None:
        self.ids[row, column] = token
        self.positions[row, column] = len(seen)
        self.sees[row, column, seen] = True
