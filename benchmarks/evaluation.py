"""Speed of the evaluation beside the plain way of doing the same, in one run.

    python benchmarks/evaluation.py                  # embedded model, one thread, about 15 minutes
    python benchmarks/evaluation.py --quick          # few items: the parts run, the figures say little
    python benchmarks/evaluation.py --model DIR --dtype bfloat16
    python benchmarks/evaluation.py --floor          # F1 of unrelated sentences, for rescaling

Every line compares two ways that give the same result, which is checked: the same answers, the same
probabilities. Both ways run in turn, `--repeats` times; the figures are medians of processor time,
which neighbours on the machine disturb least. Prompts are made up, in this project's own words.
"""

import argparse
import ast
import random
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
BASE = PROJECT / "data" / "06_models" / "base"

WORDS = (
    "sleep exam sister garden money river doctor bread winter letter train silence help talk tired "
    "alone week step friend boss phone night morning kitchen window worry cry walk plan promise"
).split()


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        name: What is compared.
        ours: Median seconds of this project's way.
        other: Median seconds of the way beside it.
        ratio: What the target is about.
        target: In words, with the bound.
        reached: Whether the ratio meets it.
    """

    name: str
    ours: float
    other: float
    ratio: float
    target: str
    reached: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a target was missed (never with --quick)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder; default: the embedded model")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--items", type=int, default=64, help="prompts to answer")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3000, help="pairs for BERTScore")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few items, one repeat")
    parser.add_argument("--floor", action="store_true", help="only measure the floor of BERTScore")
    options = parser.parse_args(arguments)
    if options.quick:
        options.items, options.pairs, options.repeats = 6, 20, 1
        options.max_new_tokens = min(options.max_new_tokens, 24)
    import torch

    torch.set_num_threads(1)
    if options.floor:
        print(f"F1 of unrelated sentences: {measure_floor(options.pairs):.4f}")
        return 0
    ref = obtain(options.model)
    lines = [
        compare_generation(ref, options),
        compare_resume(ref, options),
        compare_options(ref, options),
        compare_constrained(ref, options),
        time_bertscore(options),
    ]
    print_table(ref.name, options, lines)
    return 0 if options.quick or all(line.reached for line in lines) else 1


def obtain(folder: Path | None) -> Any:
    """Return a reference to the model to measure."""
    from mental_slm.language_model.options import ModelOptions
    from mental_slm.language_model.source import describe_folder, obtain_model

    if folder is not None:
        return describe_folder(folder, folder.name, "folder")
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    return obtain_model(ModelOptions(name=name, source="embedded", threads=1), BASE)


def make_items(number: int) -> list[dict[str, Any]]:
    """Make up posts of different lengths, with the question of the emotion task."""
    from mental_slm.prompts import Prompts

    prompts = Prompts.read(PROJECT / "conf" / "base" / "prompts")
    generator = random.Random(7)
    items = []
    for n in range(number):
        post = " ".join(generator.choices(WORDS, k=generator.randint(8, 90)))
        instruction = prompts.student_prompt("emotion", post)
        items.append(
            {
                "pair_id": f"item-{n}",
                "instruction": instruction,
                "phrases": prompts.tasks["emotion"].phrases,
                "messages": [
                    {"role": "system", "content": "You support people with warmth and care."},
                    {"role": "user", "content": instruction},
                ],
            }
        )
    return items


def race(
    ways: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Run the ways in turn; return median seconds of processor time and the last results."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.process_time()
            results[name] = way()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(own) for name, own in seconds.items()}, results


def compare_generation(ref: Any, options: argparse.Namespace) -> Line:
    """Compare answers in slots with `generate`, one prompt after the other."""
    import torch

    from mental_slm.language_model.chat import encode_prompt, stop_token_ids
    from mental_slm.language_model.generation import Prompt, generate_answers
    from mental_slm.language_model.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(ref.path)
    model = load_model(ref.path, dtype=options.dtype, on="cpu")
    prompts = [Prompt(item["pair_id"], item["messages"]) for item in make_items(options.items)]
    stops = stop_token_ids(tokenizer, ref.path)

    def one_by_one() -> dict[str, str]:
        answers = {}
        for prompt in prompts:
            ids = torch.tensor([encode_prompt(tokenizer, prompt.messages)])
            with torch.inference_mode():
                output = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=options.max_new_tokens,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    eos_token_id=stops,
                    pad_token_id=tokenizer.pad_token_id,
                )
            text = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
            answers[prompt.key] = text.strip()
        return answers

    def ours() -> dict[str, str]:
        found = generate_answers(
            model, tokenizer, prompts, options.max_new_tokens, options.batch_size
        )
        return {answer.key: answer.text for answer in found}

    seconds, results = race({"ours": ours, "other": one_by_one}, options.repeats)
    differing = sum(results["ours"][key] != text for key, text in results["other"].items())
    if differing and options.dtype == "float32":
        raise AssertionError(f"{differing} of {len(prompts)} answers differ from one-by-one")
    ratio = seconds["other"] / seconds["ours"]
    name = f"{len(prompts)} answers, beside `generate` one by one ({differing} answers differ)"
    return Line(name, seconds["ours"], seconds["other"], ratio, "at least 4x", ratio >= 4)


def compare_resume(ref: Any, options: argparse.Namespace) -> Line:
    """Compare a run that finds every answer in its journal with the run that made them."""
    from mental_slm.language_model.options import ModelOptions
    from mental_slm.pipelines.evaluation.answering import answer_items
    from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions

    settings = EvaluationOptions(
        environment="benchmark",
        data="sample",
        max_items_per_task=None,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
        dtype=options.dtype,
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=32),
        resamples=100,
        seed=1,
    )
    threads = ModelOptions(name=ref.name, source="embedded", threads=1)
    items = make_items(options.items)
    with tempfile.TemporaryDirectory() as folder:
        first, again = (
            race({"run": lambda: answer_items(items, ref, settings, threads, Path(folder))}, 1)
            for _ in range(2)
        )
    if first[1]["run"] != again[1]["run"]:
        raise AssertionError("the journal gave other answers than the run that wrote it")
    ratio = again[0]["run"] / first[0]["run"]
    name = f"resume with all {len(items)} answers done, beside generating them"
    return Line(name, again[0]["run"], first[0]["run"], ratio, "at most 0.02", ratio <= 0.02)


def compare_options(ref: Any, options: argparse.Namespace) -> Line:
    """Compare the log-likelihood of all options of a question with that of one."""
    from mental_slm.language_model.label_scoring import Choice, score_options
    from mental_slm.language_model.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(ref.path)
    model = load_model(ref.path, dtype=options.dtype, on="cpu")
    items = make_items(min(options.items, 24))

    def score(most: int) -> dict[str, tuple[float, ...]]:
        choices = [
            Choice(item["pair_id"], item["messages"], tuple(item["phrases"].values())[:most])
            for item in items
        ]
        return {one.key: one.log_likelihoods for one in score_options(model, tokenizer, choices, 8)}

    ways = {"ours": lambda: score(7), "other": lambda: score(1)}
    seconds, results = race(ways, options.repeats)
    for key, (alone,) in results["other"].items():
        if options.dtype == "float32" and abs(results["ours"][key][0] - alone) > 1e-3:
            raise AssertionError(f"{key}: an option scores otherwise beside others")
    ratio = seconds["ours"] / seconds["other"]
    name = f"likelihood of 7 options, beside 1 ({len(items)} prompts)"
    return Line(name, seconds["ours"], seconds["other"], ratio, "at most 1.5x", ratio <= 1.5)


def compare_constrained(ref: Any, options: argparse.Namespace) -> Line:
    """Compare seconds per token of answers within the profile grammar with free ones."""
    from mental_slm.emotions import longest_profile_bytes, profile_grammar
    from mental_slm.language_model.constrained import Grammar, generate_constrained
    from mental_slm.language_model.generation import Prompt, generate_answers
    from mental_slm.language_model.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(ref.path)
    model = load_model(ref.path, dtype=options.dtype, on="cpu")
    grammar = Grammar.for_model(profile_grammar(), model, tokenizer)
    items = make_items(min(options.items, 16))
    prompts = [Prompt(item["pair_id"], item["messages"]) for item in items]
    limit = longest_profile_bytes() + 1

    def tokens(constrained: bool) -> int:
        if constrained:
            answers = generate_constrained(model, tokenizer, prompts, grammar, limit, 16)
        else:
            answers = generate_answers(model, tokenizer, prompts, 70, 16)
        return sum(answer.tokens for answer in answers)

    ways = {"ours": lambda: tokens(True), "other": lambda: tokens(False)}
    seconds, results = race(ways, options.repeats)
    per_token = {name: seconds[name] / results[name] for name in ways}
    ratio = per_token["ours"] / per_token["other"]
    name = f"seconds per token within a grammar, beside free ({len(prompts)} prompts)"
    return Line(name, per_token["ours"], per_token["other"], ratio, "at most 1.1x", ratio <= 1.1)


def time_bertscore(options: argparse.Namespace) -> Line:
    """Time BERTScore with the packaged encoder in bfloat16, beside float32."""
    from mental_slm.pipelines.evaluation.options import BertScoreOptions
    from mental_slm.pipelines.evaluation.text_similarity import TextSimilarity

    generator = random.Random(3)
    pairs = [
        (" ".join(generator.choices(WORDS, k=70)), " ".join(generator.choices(WORDS, k=90)))
        for _ in range(options.pairs)
    ]

    def score(dtype: Any) -> list[float]:
        settings = BertScoreOptions(encoder="embedded", layers=6, batch_size=32, dtype=dtype)
        return TextSimilarity(settings).score(pairs)

    ways = {"ours": lambda: score("auto"), "other": lambda: score("float32")}
    seconds, results = race(ways, 1)
    moved = max(abs(a - b) for a, b in zip(results["ours"], results["other"], strict=True))
    name = f"BERTScore of {len(pairs)} pairs of 160 words, beside float32 (moves {moved:.4f})"
    allowed = 120 * len(pairs) / 3000
    ours = seconds["ours"]
    return Line(name, ours, seconds["other"], ours, f"at most {allowed:.0f} s", ours <= allowed)


def measure_floor(number: int) -> float:
    """Return the mean BERTScore F1 of random pairs of sentences from Python's documentation.

    The sentences are the first ones of docstrings in the standard library, 6 to 40 words long.
    """
    from mental_slm.pipelines.evaluation.options import BertScoreOptions
    from mental_slm.pipelines.evaluation.text_similarity import TextSimilarity

    sentences = set()
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                sentence = " ".join((ast.get_docstring(node) or "").split()).split(". ")[0]
                if 6 <= len(sentence.split()) <= 40:
                    sentences.add(sentence)
    generator = random.Random(11)
    ordered = sorted(sentences)
    pairs = [tuple(generator.sample(ordered, 2)) for _ in range(number)]
    settings = BertScoreOptions(encoder="embedded", layers=6, batch_size=32)
    return statistics.mean(TextSimilarity(settings).score(pairs))


def print_table(model: str, options: argparse.Namespace, lines: Sequence[Line]) -> None:
    """Print the table in Markdown."""
    print(f"\n{model}, {options.dtype}, one thread, medians of {options.repeats}\n")
    print("| what | ours, s | other, s | figure | target | |")
    print("| :--- | ---: | ---: | ---: | :--- | :--- |")
    for line in lines:
        verdict = "reached" if line.reached else "MISSED"
        print(
            f"| {line.name} | {line.ours:.3g} | {line.other:.3g} | {line.ratio:.3g} "
            f"| {line.target} | {verdict} |"
        )


if __name__ == "__main__":
    sys.exit(main())
