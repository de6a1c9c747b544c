"""Made-up judges and what they judge; as a process, a judging that tests can kill.

``python judging.py <workspace> <url> <number of items>`` asks the server at the address and prints
how many criteria have a score.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai_server import Answer, Asked

from mental_slm.fingerprints import digest
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.judge import nodes
from mental_slm.pipelines.evaluation.judge.options import JudgeOptions
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.prompts import CRITERIA, Prompts
from mental_slm.references import ModelRef
from mental_slm.tasks import TASKS

ROOT = Path(__file__).parents[1]
JSON = dict[str, Any]

#: Stands for a model where none is loaded: only its name and digest are read.
NOBODY = ModelRef(
    path=Path("nowhere"), digest="0" * 16, name="nobody", family="llama", origin="x", parameters=1
)


def make_items(number: int) -> list[JSON]:
    """Test items, each about a post of its own, one task after the other."""
    tasks = list(TASKS)
    items = []
    for n in range(number):
        task = tasks[n % len(tasks)]
        post = f"Evening {n}: the kettle hums, the letters lie unopened, and I count the tiles."
        items.append(
            {
                "pair_id": digest(["item", n]),
                "text_id": digest(post),
                "task": task,
                "post": post,
                "instruction": f"Post:\n{post}\n\nWhat does it show?",
                "response": f"Letters left unopened on evening {n} may show that it is too much.",
                "teacher": "template",
            }
        )
    return items


def make_generations(items: list[JSON], voice: str) -> list[JSON]:
    return [
        {
            "pair_id": item["pair_id"],
            "answer": f"A {voice} word about tiles and letters, {item['pair_id'][:4]} times.",
        }
        for item in items
    ]


def make_options(**judge: Any) -> EvaluationOptions:
    return EvaluationOptions(
        environment="test",
        data="sample",
        max_items_per_task=None,
        max_new_tokens=8,
        batch_size=8,
        dtype="float32",
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        resamples=200,
        seed=1,
        judge=JudgeOptions.model_validate(judge),
    )


def at(url: str, name: str = "made-up", **changes: Any) -> JSON:
    """Options of a judge on this machine."""
    endpoint = {"base_url": url, "concurrency": 4, "backoff_s": 0.01}
    return {
        "name": name,
        "kind": "endpoint",
        "model": "gpt-4o",
        "endpoint": endpoint | changes.pop("endpoint", {}),
        **changes,
    }


def criteria_of(asked: Asked) -> list[str]:
    """The criteria in the order that the judge is asked for."""
    return list(asked.body["response_format"]["json_schema"]["schema"]["required"])


def text_of(asked: Asked) -> str:
    """All that the judge reads."""
    return "\n".join(message["content"] for message in asked.body["messages"])


def graded(asked: Asked, **changes: Any) -> Answer:
    """Reply as the rubric asks: scores that follow from post and answer alone."""
    seen = digest(asked.body["messages"][1]["content"])
    scores = {name: int(digest([seen, name]), 16) % 6 for name in criteria_of(asked)} | changes
    return Answer(json.dumps(scores))


def judge(
    workspace: Path,
    items: list[JSON],
    options: EvaluationOptions,
    tuned: list[JSON] | None = None,
    prompts: Prompts | None = None,
    model: ModelRef = NOBODY,
    keys: tuple[Any, Any] = (None, None),
) -> JSON:
    """Run all nodes of the judge and return what they give."""
    prompts = prompts or Prompts.read(ROOT / "conf" / "base" / "prompts")
    samples = nodes.plan_judging(
        items,
        make_generations(items, "plain"),
        make_generations(items, "warm") if tuned is None else tuned,
        prompts,
        options,
    )
    workspace.mkdir(exist_ok=True, parents=True)
    threads = ModelOptions(name="tiny", source="random", threads=1)
    replies, summary = nodes.judge_answers(
        samples, prompts, {}, model, workspace, *keys, options, threads
    )
    scores, metrics = nodes.score_judgements(replies, summary, options)
    nodes.draw_judge(metrics).to_json()
    return {
        "samples": samples,
        "replies": replies,
        "summary": summary,
        "scores": scores,
        "metrics": metrics,
    }


def failures_of(result: JSON) -> JSON:
    """Fault to number of criteria without a score, over all judges."""
    counts: JSON = {}
    for reply in result["replies"]:
        for fault in reply["failures"].values():
            counts[fault] = counts.get(fault, 0) + 1
    return counts


def with_faults(faults: dict[str, Callable[[Asked], Any]]) -> Callable[[Asked], Any]:
    """A judge that misbehaves where a text holds one of the words, and grades otherwise."""

    def behave(asked: Asked) -> Any:
        for word, fault in faults.items():
            if word in asked.body["messages"][1]["content"]:
                return fault(asked)
        return graded(asked)

    return behave


def main() -> None:
    workspace, url, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    items = make_items(number)
    result = judge(workspace, items, make_options(judges=[at(url)], items=None))
    sys.stdout.write(f"{int(result['scores']['score'].notna().sum()) // len(CRITERIA)}\n")


if __name__ == "__main__":
    main()
