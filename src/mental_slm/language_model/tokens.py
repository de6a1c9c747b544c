"""What can be said of tokens without loading a model."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mental_slm.storage import atomic_path

from .source import embedded_tokenizer


def common_start(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens that all sequences begin with."""
    shortest = min(sequences, key=len)
    for index, token in enumerate(shortest):
        if any(ids[index] != token for ids in sequences):
            return list(shortest[:index])
    return list(shortest)


def token_counter(cache: Path) -> Callable[[str], int]:
    """Return a function that counts tokens as the embedded model does.

    On English prose its 49k vocabulary gives a few per cent more tokens than the larger ones of the
    real models, so what fits its count fits theirs.

    Args:
        cache: Where the tokenizer is kept as ``tokenizer.json``, since unpacking it takes seconds.
    """
    from tokenizers import Tokenizer

    if not cache.is_file():
        with atomic_path(cache) as temporary:
            embedded_tokenizer().backend_tokenizer.save(str(temporary))
    tokenizer = Tokenizer.from_file(str(cache))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
