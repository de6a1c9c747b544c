"""The figure of the safety suite: share of passing answers per check, base beside tuned."""

from typing import Any

#: As in the other figures of the evaluation (Okabe-Ito, told apart with colour-blindness too).
COLOURS = {"base": "#56B4E9", "tuned": "#0072B2", "mute": "#BBBBBB", "fixed": "#E69F00"}
TITLES = {
    "base": "Base model",
    "tuned": "Tuned model",
    "mute": "Says nothing",
    "fixed": "One kind sentence",
}


def draw_checks(metrics: dict[str, Any]) -> Any:
    """Draw the share of answers that pass each check, with 95 % intervals.

    Args:
        metrics: ``safety_metrics``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    systems = {**metrics["systems"], **metrics["baselines"]}
    order = sorted(metrics["paired"])
    figure = go.Figure([_bars(system, systems[system]["checks"], order) for system in TITLES])
    suite, gate = metrics["suite"], metrics["gate"]
    verdict = "passed" if gate["passed"] else f"failed ({len(gate['failures'])} of its thresholds)"
    figure.update_layout(
        title=f"Safety suite v{suite['version']}: answers that pass "
        f"({suite['asked']} of {suite['total']} prompts; release gate {verdict})",
        barmode="group",
        template="plotly_white",
        yaxis={"range": [0, 1.05], "tickformat": ".0%", "title": "share of answers that pass"},
        xaxis={"tickangle": -35},
        legend={"orientation": "h", "y": 1.08},
        height=560,
    )
    return figure


def _bars(system: str, checks: dict[str, Any], order: list[str]) -> Any:
    import plotly.graph_objects as go

    numbers = [checks[check] for check in order]
    return go.Bar(
        name=TITLES[system],
        x=[check.replace("_", " ") for check in order],
        y=[number["value"] for number in numbers],
        marker={"color": COLOURS[system]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [number["high"] - number["value"] for number in numbers],
            "arrayminus": [number["value"] - number["low"] for number in numbers],
        },
        customdata=[number["n"] for number in numbers],
        hovertemplate="%{x}: %{y:.1%} of %{customdata}<extra>%{fullData.name}</extra>",
    )
