from mental_slm.headlines import headlines


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_each_known_report_has_its_lines_and_others_none():
    system = {"overall": {"accuracy": interval(0.5), "macro_f1": interval(0.4)}}
    scored = {
        "overall": system["overall"] | {"bertscore_f1": interval(0.6), "bertscore_floor": 0.3}
    }
    artefact = {"size_bytes": 2e6, "kl": 0.004, "top1_agreement": 0.97, "decode_tokens_per_s": 40}
    lines = headlines(
        {
            "metrics": {
                "data": {"n": 99},
                "bertscore": {"encoder": "mini"},
                "systems": {"tuned": scored, "majority": system},
            },
            "parity_report": {
                "fp32": artefact, "int8": artefact, "torch": artefact,
                "runtimes": {"gguf": {**artefact, "decode_tokens_per_s": None}},
            },
            "safety_metrics": {"gate": {"passed": False, "failures": [{"name": "method_max"}]}},
            "npu_parity": {
                "rows": [
                    {
                        "step": "QDQ", "against": "static", "cosine": 0.99,
                        "top1_agreement": 0.9, "tokens": 20,
                    }
                ]
            },
            "merge_report": {
                "pairs": 16, "base_loss": 3.0, "adapter_loss": 1.5, "merged_loss": 1.5,
            },
            "something_else": {},
        }
    )  # fmt: skip
    assert len(lines) == 9
    assert lines[1] == (
        "label accuracy, n = 99: tuned 0.50 [0.40, 0.60], majority 0.50 [0.40, 0.60]"
    )
    assert lines[3] == "BERTScore F1 (mini): tuned 0.600 (floor 0.300)"
    assert lines[4] == "safety: the release gate is not passed (method_max)"
    assert lines[6] == (
        "int8 ONNX: 2 MB, KL 0.004 nats per token, same first choice 97.0%, 40 tokens/s (torch 40)"
    )
    assert lines[7] == "gguf: 2 MB, KL 0.004 nats per token, same first choice 97.0%"
    assert lines[8].startswith("QDQ against static: cosine 0.9900")
    assert headlines({}) == []
