"""Training speed, memory and loss beside TRL and beside the way of the original work.

    python benchmarks/training.py                        # CPU, one thread, about 20 minutes
    python benchmarks/training.py --systems ours nf4 trl --repeats 2
    python benchmarks/training.py --device cuda          # random weights in the real shapes

Every system trains the same adapter (r 16 on all linear layers, dropout 0.05) on the same base and
the same pairs, with loss on the same answer tokens and as many pairs per optimiser step. Each runs
in a process of its own, one after the other; a repeat starts the round again. One clock, a callback
of the Trainer that all of them are built on, counts the time between the begin and the end of each
optimiser step. Rates count real tokens: padding is work, not progress.

On a CPU there are two mixes, made with this project's own prompts and offline teacher: `mixed` (one
half long answers, one half one-word answers) and `long` (long answers alone). On a GPU the ids are
random, because only shapes matter to speed. The losses before and after are means over held-out pairs,
each pair alone and unpadded, with full logits: a system that trains on other tokens shows there.

TRL is needed for this benchmark alone: pip install 'mental-slm[benchmark]'.
"""

import argparse
import importlib.util
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
BASE = PROJECT / "data" / "06_models" / "base"
TRL_REMEDY = "pip install 'trl>=1.16,<1.17'  (or: pip install -e '.[benchmark]')"

#: Longest row or padded pair, in tokens: the original's limit.
LENGTH = 512

#: Pairs per optimiser step, the default batch of TRL 1.16.
PAIRS_PER_STEP = 8

LEARNING_RATE = 2e-4
LORA = {"r": 16, "alpha": 32, "dropout": 0.05}

#: What trains and how. `kind` names the function that runs it, the rest are its settings.
CPU_SYSTEMS: dict[str, dict[str, Any]] = {
    "ours": {"kind": "ours", "quantisation": "none"},
    "nf4": {"kind": "ours", "quantisation": "nf4", "cached_weights": True},
    "nf4-uncached": {"kind": "ours", "quantisation": "nf4"},
    "ours-recompute": {"kind": "ours", "quantisation": "none", "activation_checkpointing": True},
    "trl": {"kind": "trl"},
    "trl-kept": {"kind": "trl", "gradient_checkpointing": False},
    "trl-packed": {"kind": "trl", "packing": True},
    "trl-packed-kept": {"kind": "trl", "packing": True, "gradient_checkpointing": False},
    "pad-512": {"kind": "padded", "gradient_checkpointing": True},
    "pad-512-kept": {"kind": "padded"},
}
LABELS = {
    "ours": "ours, bfloat16",
    "nf4": "ours, NF4, weights cached",
    "nf4-uncached": "ours, NF4, written out each time",
    "ours-recompute": "ours, bfloat16, recompute",
    "trl": "TRL, defaults (8 pairs, recompute)",
    "trl-kept": "TRL, 8 pairs, no recompute",
    "trl-packed": "TRL packed (rows of 512, recompute)",
    "trl-packed-kept": "TRL packed, no recompute",
    "pad-512": "pad to 512 (original: 2 pairs, recompute)",
    "pad-512-kept": "pad to 512, no recompute",
    "small": "ours, 2 rows, recompute",
    "small-kept": "ours, 2 rows",
    "large": "ours, 32 rows, weights cached, recompute",
    "large-kept": "ours, 32 rows, weights cached",
    "trl-small": "TRL, defaults, 2 pairs",
    "trl-large": "TRL, defaults, 32 pairs",
    "trl-large-kept": "TRL, 32 pairs, no recompute",
}

#: The same on a GPU, all in NF4: the batch of the original on a small card, and a filled large one.
GPU_SYSTEMS: dict[str, dict[str, Any]] = {
    "small": {"kind": "ours", "batch_size": 2, "activation_checkpointing": True},
    "small-kept": {"kind": "ours", "batch_size": 2},
    "large": {
        "kind": "ours",
        "batch_size": 32,
        "activation_checkpointing": True,
        "cached_weights": True,
    },
    "large-kept": {"kind": "ours", "batch_size": 32, "cached_weights": True},
    "trl-small": {"kind": "trl", "per_device_train_batch_size": 2},
    "trl-large": {"kind": "trl", "per_device_train_batch_size": 32},
    "trl-large-kept": {
        "kind": "trl",
        "per_device_train_batch_size": 32,
        "gradient_checkpointing": False,
    },
}
GPU_PAIRS_PER_STEP = 32

#: What must hold: (mix, ours, theirs, at least so many times their rate).
SPEED_TARGETS = (
    ("mixed", "ours", "trl", 2.0),
    ("mixed", "ours", "trl-packed", 1.5),
    ("mixed", "ours", "pad-512", 2.0),
    ("long", "ours", "trl", 1.0),
    ("long", "ours", "trl-packed", 1.0),
    ("long", "ours", "pad-512", 1.0),
    ("long", "ours", "trl-kept", 1.0),
    ("long", "ours", "trl-packed-kept", 1.0),
    ("long", "ours", "pad-512-kept", 1.0),
    ("mixed", "nf4", "ours", 0.95),
    ("long", "nf4", "ours", 0.95),
)
MEMORY_TARGETS = (("mixed", "ours", "trl", 0.6), ("long", "ours", "trl", 0.6))


# ---------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------


def make_pairs(tokenizer: Any, mix: str, count: int, seed: int) -> list[Any]:
    """Make up pairs as the project would: its student prompt, its offline teacher.

    Args:
        tokenizer: Of the base model.
        mix: ``long``, or ``mixed``, where every second answer is one word after a short post.
        count: How many.
        seed: Decides every word.
    """
    from mental_slm.language_model.chat import encode_pair
    from mental_slm.pipelines.augmentation.template_teacher import compose_answer
    from mental_slm.prompts import Prompts
    from mental_slm.sample.composer import PhraseBook
    from mental_slm.sample.phrases import BANKS
    from mental_slm.tasks import answer_line

    prompts = Prompts.read(PROJECT / "conf" / "base" / "prompts")
    chance = random.Random(f"{mix}/{seed}")
    book = PhraseBook(BANKS, chance)
    pairs: list[Any] = []
    while len(pairs) < count:
        short = mix == "mixed" and len(pairs) % 2 == 1
        mood = chance.choice(("yes", "no"))
        sentences = chance.randint(2, 3) if short else chance.randint(7, 13)
        banks = ["opening", *(["detail", f"stress_{mood}", "low_mood"] * sentences)]
        post = " ".join(book.sentence(bank) for bank in banks[:sentences])
        phrase = prompts.tasks["stress"].phrases[mood]
        if short:
            answer = answer_line(phrase)
        else:  # counselling answers are long: some paragraphs, the last one with the answer line
            paragraphs = [
                compose_answer(prompts, "stress", post, f"{seed}/{len(pairs)}/{part}", None)
                for part in range(chance.randint(2, 3))
            ]
            last = compose_answer(prompts, "stress", post, f"{seed}/{len(pairs)}", mood)
            answer = "\n\n".join([*paragraphs, last])
        pair = encode_pair(
            tokenizer,
            [
                {"role": "system", "content": prompts.student.system},
                {"role": "user", "content": prompts.student_prompt("stress", post)},
                {"role": "assistant", "content": answer},
            ],
        )
        if len(pair.input_ids) <= LENGTH:
            pairs.append(pair)
    return pairs


def draw_pairs(vocabulary: int, count: int, seed: int, longest: int = LENGTH) -> list[Any]:
    """Draw pairs of random ids, from half the longest to the longest, one half of each an answer."""
    from mental_slm.language_model.chat import EncodedPair

    chance = random.Random(seed)
    lengths = [chance.randint(longest // 2, longest) for _ in range(count)]
    return [
        EncodedPair([chance.randrange(10, vocabulary) for _ in range(length)], length // 2)
        for length in lengths
    ]


def describe(pairs: Sequence[Any]) -> str:
    """Return what a mix is made of, in a sentence."""
    lengths = [len(pair.input_ids) for pair in pairs]
    answers = [len(pair.input_ids) - pair.prompt_length for pair in pairs]
    return (
        f"{len(pairs)} pairs, {sum(lengths)} tokens ({min(lengths)} to {max(lengths)}, mean "
        f"{statistics.mean(lengths):.0f}), {sum(answers)} of them answers"
    )


def write_base(config: dict[str, Any], folder: Path) -> Path:
    """Write a model of a given shape with random weights, in bfloat16, without a tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------------------------------
# One system, in a process of its own
# ---------------------------------------------------------------------------------------------


def make_clock() -> Any:
    """Return a callback that measures the optimiser steps of any Trainer."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        wall = processor = peak = 0.0
        steps = 0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            _synchronise()
            self._began = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            _synchronise()
            self.wall += time.perf_counter() - self._began[0]
            self.processor += time.process_time() - self._began[1]
            self.steps += 1
            self.peak = peak_mb()

    return Clock()


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> float:
    """Return the most memory held so far: allocated on a GPU, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def run_system(job: dict[str, Any]) -> dict[str, Any]:
    """Train one system on a job; return its figures.

    Args:
        job: ``system``, ``base``, ``train``, ``held_out``, ``folder``, ``pairs_per_step`` and, on a
            GPU, ``nf4``.
    """
    import torch
    from transformers import trainer

    from mental_slm.training.batches import read_pairs

    torch.set_num_threads(1)
    clock = make_clock()
    trainer.DEFAULT_CALLBACKS.append(clock)  # the one place that every Trainer asks
    try:
        settings = dict(job["system"])
        kind = settings.pop("kind")
        labelled = {"ours": train_ours, "trl": train_trl, "padded": train_padded}[kind](
            job, settings
        )
    finally:
        trainer.DEFAULT_CALLBACKS.remove(clock)
    tokens = sum(len(pair.input_ids) for pair in read_pairs(Path(job["train"])))
    nf4 = job.get("nf4", False) or settings.get("quantisation") == "nf4"
    before, after = held_out_losses(job, nf4)
    return {
        "tokens": tokens,
        "labelled": labelled,
        "steps": clock.steps,
        "seconds": clock.wall,
        "processor_seconds": clock.processor,
        "peak_mb": clock.peak,
        "before": before,
        "after": after,
    }


def train_ours(job: dict[str, Any], settings: dict[str, Any]) -> int:
    """Run the project's own worker; returns the answer tokens it trained on."""
    from mental_slm.training import worker
    from mental_slm.training.batches import plan_rows, read_pairs
    from mental_slm.training.config import TrainingOptions, WorkerConfig

    pairs = read_pairs(Path(job["train"]))
    lengths = [len(pair.input_ids) for pair in pairs]
    rows = plan_rows(lengths, LENGTH, None, 1.0, 0)
    batch = settings.get("batch_size", 1)
    # as many pairs per step as the others have: rows hold several
    per_step = max(1, round(len(rows) * job["pairs_per_step"] / len(pairs) / batch))
    options = {
        "quantisation": "nf4" if job.get("nf4") else "none",
        "max_length": LENGTH,
        "gradient_accumulation_steps": per_step,
        "learning_rate": LEARNING_RATE,
        "schedule": "linear",
        "warmup": 0.0,
        "logging_steps": 1,
        "eval_steps": 10**6,
        "save_steps": 10**6,
        "lora": LORA,
        **settings,
    }
    folder = Path(job["folder"])
    config = WorkerConfig(
        base_folder=Path(job["base"]),
        base_digest="",
        base_reference=job["base"],
        train_file=Path(job["train"]),
        validation_file=Path(job["held_out"]),
        output_folder=folder,
        threads=1,
        training=TrainingOptions.model_validate(options),
    )
    (folder / "config.json").write_text(config.model_dump_json(), "utf-8")
    worker.main(folder / "config.json")
    return sum(
        len(pairs[index].input_ids) - pairs[index].prompt_length for row in rows for index in row
    )


def train_trl(job: dict[str, Any], settings: dict[str, Any]) -> int:
    """Run TRL's SFTTrainer on ready-made tokens and labels; returns its answer tokens."""
    import torch
    from datasets import Dataset
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    rows = Dataset.from_list(labelled_rows(job))
    own: dict[str, Any] = {"per_device_train_batch_size": PAIRS_PER_STEP, **settings}
    if settings.get("packing"):
        # its best shape on a CPU: TRL joins all rows of a micro-batch to one, and masks it densely
        fill = sum(map(len, rows["input_ids"])) / len(rows) * job["pairs_per_step"] / LENGTH
        own |= {"max_length": LENGTH, "per_device_train_batch_size": 1}
        own["gradient_accumulation_steps"] = max(1, round(fill))
    else:
        own["gradient_accumulation_steps"] = (
            job["pairs_per_step"] // own["per_device_train_batch_size"]
        )
    if job.get("nf4"):
        own["model_init_kwargs"] = {
            "dtype": "bfloat16",
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        }
    trainer = SFTTrainer(
        job["base"],
        args=SFTConfig(**common_arguments(job), **own),
        train_dataset=rows,
        processing_class=plain_tokenizer(),
        peft_config=lora_config(),
    )
    trainer.train()
    trainer.save_model(str(Path(job["folder"]) / "adapter"))
    return sum(label != -100 for labels in trainer.train_dataset["labels"] for label in labels)


def train_padded(job: dict[str, Any], settings: dict[str, Any]) -> int:
    """Run the Trainer as the original work did: every pair padded to 512, all logits.

    Its mistakes are left out (loss on padding, cut answers), because labels must be the same here.
    Returns the answer tokens.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

    rows = labelled_rows(job)
    for row in rows:
        missing = LENGTH - len(row["input_ids"])
        row["attention_mask"] = [1] * len(row["input_ids"]) + [0] * missing
        row["input_ids"] = row["input_ids"] + [0] * missing
        row["labels"] = row["labels"] + [-100] * missing
    set_seed(0)
    base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.bfloat16)
    model = get_peft_model(base, lora_config())
    if settings.get("gradient_checkpointing"):
        model.enable_input_require_grads()
    trainer = Trainer(
        model,
        args=TrainingArguments(
            **common_arguments(job),
            bf16=True,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=job["pairs_per_step"] // 2,
            **settings,
        ),
        train_dataset=rows,
    )
    trainer.train()
    trainer.save_model(str(Path(job["folder"]) / "adapter"))
    return sum(label != -100 for row in rows for label in row["labels"])


def labelled_rows(job: dict[str, Any]) -> list[dict[str, list[int]]]:
    """Return the training pairs as ids and labels, the prompt without labels."""
    from mental_slm.training.batches import IGNORED, read_pairs

    return [
        {
            "input_ids": pair.input_ids,
            "labels": [IGNORED] * pair.prompt_length + pair.input_ids[pair.prompt_length :],
        }
        for pair in read_pairs(Path(job["train"]))
    ]


def common_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that TRL's and transformers' Trainer have in common here."""
    import torch

    return {
        "output_dir": str(Path(job["folder"]) / "trainer"),
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": not torch.cuda.is_available(),
        "seed": 0,
    }


def lora_config() -> Any:
    """Return the adapter that every system trains."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=LORA["r"],
        lora_alpha=LORA["alpha"],
        lora_dropout=LORA["dropout"],
        target_modules="all-linear",
    )


def plain_tokenizer() -> Any:
    """Return a tokenizer for SFTTrainer, which wants one even for ready-made tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<end>": 1, "<unknown>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<unknown>")),
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unknown>",
    )


def held_out_losses(job: dict[str, Any], nf4: bool) -> tuple[float, float]:
    """Return the mean loss per held-out answer token without and with the trained adapter.

    Nothing of the project's loss is used: one pair at a time, full logits, plain cross entropy.
    """
    import torch
    from peft import PeftModel

    from mental_slm.language_model.loading import load_model, load_model_nf4
    from mental_slm.training.batches import read_pairs

    folder = Path(job["base"])
    base = load_model_nf4(folder).dequantize() if nf4 else load_model(folder, "bfloat16")
    model = PeftModel.from_pretrained(base, str(Path(job["folder"]) / "adapter")).eval()
    pairs = read_pairs(Path(job["held_out"]))

    @torch.no_grad()
    def mean() -> float:
        total, count = 0.0, 0
        for pair in pairs:
            ids = torch.tensor([pair.input_ids], device=base.device)
            logits = model(input_ids=ids).logits[0, pair.prompt_length - 1 : -1].float()
            targets = ids[0, pair.prompt_length :]
            total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            count += len(targets)
        return total / count

    with model.disable_adapter():
        before = mean()
    return before, mean()


# ---------------------------------------------------------------------------------------------
# The rounds and the table
# ---------------------------------------------------------------------------------------------


def race(
    systems: dict[str, dict[str, Any]], job: dict[str, Any], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Run systems in turn, as often as asked, each in a process of its own."""
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, system in systems.items():
            with tempfile.TemporaryDirectory() as folder:
                own = _run_child({**job, "system": system, "folder": folder}, name)
            figures[name].append(own)
            rate = own["tokens"] / own["processor_seconds"]
            print(f"{name}: {rate:.0f} tokens per CPU second", file=sys.stderr, flush=True)
    return figures


def _run_child(job: dict[str, Any], name: str) -> dict[str, Any]:
    file = Path(job["folder"]) / "job.json"
    file.write_text(json.dumps(job), "utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--job", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the fastest run: whatever slowed the others was not the system."""
    best = min(runs, key=lambda run: run["processor_seconds"])
    return {
        **best,
        "rate": best["tokens"] / min(run["seconds"] for run in runs),
        "processor_rate": best["tokens"] / best["processor_seconds"],
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


def print_table(title: str, figures: dict[str, dict[str, Any]], by_processor: bool) -> None:
    """Print one mix; ratios are to the first system."""
    key = "processor_rate" if by_processor else "rate"
    first = next(iter(figures.values()))
    print(f"\n{title}\n")
    print(
        f"| {'system':<42} | tokens/s | per CPU-s | ours is | peak MB | ours takes | steps "
        "| answer tokens | loss before | after |"
    )
    print(f"| {'-' * 42} | -------: | --------: | ------: | ------: | ---------: | ----: "
          "| ------------: | ----------: | ----: |")  # fmt: skip
    for name, own in figures.items():
        print(
            f"| {LABELS[name]:<42} | {own['rate']:>8.0f} | {own['processor_rate']:>9.0f} "
            f"| {first[key] / own[key]:>6.2f}x | {own['peak_mb']:>7.0f} "
            f"| {first['peak_mb'] / own['peak_mb']:>9.2f}x | {own['steps']:>5} "
            f"| {own['labelled']:>13} | {own['before']:>11.4f} | {own['after']:>5.3f} |"
        )


def judge(results: dict[str, dict[str, dict[str, Any]]]) -> bool:
    """Print each target with what was reached; returns whether all were."""
    print("\nTargets\n")
    reached_all = True
    for mix, one, other, least in SPEED_TARGETS:
        if one in results.get(mix, {}) and other in results[mix]:
            ratio = results[mix][one]["processor_rate"] / results[mix][other]["processor_rate"]
            reached_all &= ratio >= least
            print(
                f"{'reached' if ratio >= least else 'MISSED':<8} {mix}: {LABELS[one]} is "
                f"{ratio:.2f}x as fast as {LABELS[other]} (at least {least})"
            )
    for mix, one, other, most in MEMORY_TARGETS:
        if one in results.get(mix, {}) and other in results[mix]:
            ratio = results[mix][one]["peak_mb"] / results[mix][other]["peak_mb"]
            reached_all &= ratio <= most
            print(
                f"{'reached' if ratio <= most else 'MISSED':<8} {mix}: {LABELS[one]} takes "
                f"{ratio:.2f}x the memory of {LABELS[other]} (at most {most})"
            )
    return reached_all


def drop_missing(systems: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leave TRL out where it is not installed, and say so."""
    if importlib.util.find_spec("trl"):
        return systems
    print(f"Not run: TRL, which is not installed. {TRL_REMEDY}")
    return {name: system for name, system in systems.items() if system["kind"] != "trl"}


def run_on_cpu(options: argparse.Namespace) -> bool:
    """Run both mixes on the embedded model; returns whether all targets were reached."""
    from mental_slm.language_model.loading import load_tokenizer
    from mental_slm.language_model.options import ModelOptions
    from mental_slm.language_model.source import obtain_model
    from mental_slm.training.batches import write_pairs

    wanted = {name: CPU_SYSTEMS[name] for name in options.systems or CPU_SYSTEMS}
    systems = drop_missing(wanted)
    model = ModelOptions(name="HuggingFaceTB/SmolLM2-135M-Instruct", source="embedded", threads=1)
    base = obtain_model(model, options.cache).path
    tokenizer = load_tokenizer(base)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for mix in options.mixes:
            train = make_pairs(tokenizer, mix, options.pairs, 1)
            held_out = make_pairs(tokenizer, mix, PAIRS_PER_STEP, 2)
            job = {
                "base": str(base),
                "train": str(Path(folder) / f"{mix}.jsonl"),
                "held_out": str(Path(folder) / f"{mix}-held-out.jsonl"),
                "pairs_per_step": PAIRS_PER_STEP,
            }
            write_pairs(Path(job["train"]), train)
            write_pairs(Path(job["held_out"]), held_out)
            runs = race(systems, job, options.repeats)
            results[mix] = {name: summarise(own) for name, own in runs.items()}
            title = f"{mix}: {describe(train)}; load {os.getloadavg()[0]:.1f}"
            print_table(title, results[mix], by_processor=True)
    return judge(results)


def run_on_gpu(options: argparse.Namespace) -> None:
    """Run random weights in the shapes of the three families, in NF4."""
    import torch

    from mental_slm.standin import FAMILIES
    from mental_slm.training.batches import write_pairs

    if not torch.cuda.is_available():
        print(
            "Not run: there is no GPU here. It would have trained the shapes of "
            + ", ".join(family.hub_id for family in FAMILIES.values())
            + f" in NF4, with: {'; '.join(LABELS[name] for name in GPU_SYSTEMS)}."
        )
        return
    systems = drop_missing({name: GPU_SYSTEMS[name] for name in options.systems or GPU_SYSTEMS})
    for name, family in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            base = write_base(family.config, Path(folder) / name)
            vocabulary = family.config["vocab_size"]
            train = draw_pairs(vocabulary, options.pairs * 4, 1)
            job = {
                "base": str(base),
                "train": str(Path(folder) / "train.jsonl"),
                "held_out": str(Path(folder) / "held-out.jsonl"),
                "pairs_per_step": GPU_PAIRS_PER_STEP,
                "nf4": True,
            }
            write_pairs(Path(job["train"]), train)
            write_pairs(Path(job["held_out"]), draw_pairs(vocabulary, 2, 2))
            runs = race(systems, job, options.repeats)
            figures = {name: summarise(own) for name, own in runs.items()}
            title = f"{family.hub_id} on {torch.cuda.get_device_name()}: {describe(train)}"
            print_table(title, figures, by_processor=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="default: all of the device")
    parser.add_argument("--mixes", nargs="+", choices=["mixed", "long"], default=["mixed", "long"])
    parser.add_argument("--pairs", type=int, default=24, help="training pairs per mix")
    parser.add_argument("--repeats", type=int, default=1, help="rounds over all systems")
    parser.add_argument("--cache", type=Path, default=BASE, help="folder of converted base models")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    known = GPU_SYSTEMS if options.device == "cuda" else CPU_SYSTEMS
    if unknown := [name for name in options.systems or [] if name not in known]:
        parser.error(
            f"--systems {' '.join(unknown)}: not on {options.device}; it has {', '.join(known)}"
        )
    if options.job:
        print(json.dumps(run_system(json.loads(options.job.read_text("utf-8")))))
        return 0
    if options.device == "cuda":
        run_on_gpu(options)
        return 0
    return 0 if run_on_cpu(options) else 1


if __name__ == "__main__":
    sys.exit(main())
