"""How likely a model finds each option of a question, without letting it write anything.

The prompt is rendered as for an answer, the answer line follows at once (no explanation), and every
option is scored by the summed log-probability of its phrase and of the token that ends the turn,
given prompt and "Answer:". The end token tells an option from a longer one that begins like it.

A prompt is run once for all options: its keys and values stay in the cache, and the options follow
as branches of one row, each of which sees the prompt and itself only (a tree mask, as in Miao et
al. 2024). Seven options then cost about as much as one, and the cache is never copied.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from mental_slm.language_model.chat import encode_prompt, turn_end
from mental_slm.records import Message
from mental_slm.tasks import ANSWER_PREFIX, answer_line


def shares(log_probabilities: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities that sum to 1, from natural logarithms that need not."""
    highest = max(log_probabilities)
    weights = [math.exp(value - highest) for value in log_probabilities]
    return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class Choice:
    """A prompt and the phrases that may answer it.

    Attributes:
        key: Under which the scores come back.
        messages: System and user turns.
        phrases: The options, in the order of the scores.
    """

    key: str
    messages: Sequence[Message]
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class OptionScores:
    """Log-likelihood (natural logarithm) of every option of one choice."""

    key: str
    log_likelihoods: tuple[float, ...]

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The likelihoods as shares of their sum: the model must take one of the options."""
        return shares(self.log_likelihoods)


def score_options(
    model: Any, tokenizer: Any, choices: Sequence[Choice], batch_size: int
) -> Iterator[OptionScores]:
    """Score the options of many choices, batch by batch.

    Choices with the same phrases share batches, sorted by the length of their prompts; prompts are
    padded on the left. In float32 the batch size changes no score beyond rounding.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Of the same folder, with a pad token.
        choices: In any order.
        batch_size: Prompts per batch.

    Yields:
        The scores as they are finished.

    Raises:
        ValueError: A choice has no phrase, or the model gives a score that is not a number.
    """
    by_phrases = defaultdict(list)
    for choice in choices:
        if not choice.phrases:
            raise ValueError(f"choice {choice.key}: no phrase to score")
        by_phrases[choice.phrases].append(choice)
    for phrases, group in by_phrases.items():
        branches = Branches.of(tokenizer, phrases)
        encoded = sorted(
            (
                ([*encode_prompt(tokenizer, choice.messages), *branches.opening], choice.key)
                for choice in group
            ),
            key=lambda item: (len(item[0]), item[1]),
        )
        for start in range(0, len(encoded), batch_size):
            batch = encoded[start : start + batch_size]
            rows = _score_batch(model, tokenizer, [ids for ids, _ in batch], branches)
            for (_, key), values in zip(batch, rows, strict=True):
                if not all(math.isfinite(value) for value in values):
                    raise ValueError(
                        f"the model's score of an option of {key} is not a number; its weights "
                        "are damaged, or it needs dtype float32"
                    )
                yield OptionScores(key, tuple(values))


@dataclass(frozen=True)
class Branches:
    """The options as token ids: what they share, and what each goes on with.

    Attributes:
        opening: Ids of "Answer:", run with the prompt.
        endings: Ids of every phrase and the end of the turn.
    """

    opening: list[int]
    endings: list[list[int]]

    @classmethod
    def of(cls, tokenizer: Any, phrases: Sequence[str]) -> "Branches":
        """Encode the answer line of every phrase."""

        def encode(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False).input_ids)

        end = turn_end(tokenizer)
        # whole lines, so that the ids are those of training: "Answer:" and then " joy", with its
        # blank; a vocabulary that joins the two shares fewer ids
        lines = [[*encode(answer_line(phrase)), end] for phrase in phrases]
        columns = zip(encode(ANSWER_PREFIX), *lines, strict=False)
        opening = [ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, columns)]
        return cls(opening, [line[len(opening) :] for line in lines])


def _score_batch(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], branches: Branches
) -> list[list[float]]:
    import torch

    width = max(len(ids) for ids in prompts)
    padding = [width - len(ids) for ids in prompts]
    input_ids = [
        [tokenizer.pad_token_id] * pad + ids for pad, ids in zip(padding, prompts, strict=True)
    ]
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding], device=model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.inference_mode():
        prompt_output = model(
            input_ids=torch.tensor(input_ids, device=model.device),
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        first = torch.log_softmax(prompt_output.logits[:, -1].float(), dim=-1)
        ids, depths, sees = _plant(branches.endings)
        seen = torch.cat(
            [
                mask.bool()[:, None, None, :].expand(-1, 1, len(ids), -1),
                torch.tensor(sees, device=model.device)[None, None].expand(len(prompts), 1, -1, -1),
            ],
            dim=-1,
        )
        blocked = torch.finfo(model.dtype).min
        branch_output = model(
            input_ids=torch.tensor([ids] * len(prompts), device=model.device),
            attention_mask=torch.zeros(
                seen.shape, dtype=model.dtype, device=model.device
            ).masked_fill(~seen, blocked),
            position_ids=positions[:, -1:] + torch.tensor(depths, device=model.device),
            past_key_values=prompt_output.past_key_values,
        )
        rest = torch.log_softmax(branch_output.logits.float(), dim=-1)
        scores, column = [], 0
        for ending in branches.endings:
            score = first[:, ending[0]].clone()
            for target in ending[1:]:
                score += rest[:, column, target]
                column += 1
            scores.append(score)
    return torch.stack(scores, dim=1).tolist()  # type: ignore[no-any-return]


def _plant(endings: Sequence[list[int]]) -> tuple[list[int], list[int], list[list[bool]]]:
    """Lay the branches side by side in one row.

    A branch's last id is only predicted, so it is left out.

    Returns:
        Ids, how many steps each lies behind the prompt, and which id sees which (rows see columns).
    """
    places = [
        (branch, depth) for branch, ids in enumerate(endings) for depth in range(len(ids) - 1)
    ]
    ids = [endings[branch][depth] for branch, depth in places]
    sees = [[b == branch and d <= depth for b, d in places] for branch, depth in places]
    return ids, [depth + 1 for _, depth in places], sees
