"""The figure of the judge: every system by criterion, with 95 % intervals."""

from typing import Any

#: Okabe-Ito colours as in the other figures of the evaluation; attacks and reference are muted.
STYLES = {
    "base": ("Base model", "#56B4E9"),
    "tuned": ("Tuned model", "#0072B2"),
    "reference": ("Reference", "#009E73"),
    "template": ("Attack: fixed template", "#D8B365"),
    "padded": ("Attack: padded copy of tuned", "#BBBBBB"),
}


def draw_judge(metrics: dict[str, Any]) -> Any:
    """Draw the mean score of every system by criterion.

    Args:
        metrics: Result of :func:`.metrics.summarise`.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for system, (title, colour) in STYLES.items():
        if system in metrics["systems"]:
            figure.add_trace(_bars(metrics, system, title, colour))
    judges = ", ".join(judge["judge"] for judge in metrics["judges"])
    data = metrics["data"]
    figure.update_layout(
        template="plotly_white",
        barmode="group",
        title={
            "text": f"Judge scores, 0 to 5<br><sup>judged by {judges}; {data['items']} items, data "
            f"edition {data['edition']}; bars: 95 % interval; * indicative only</sup>"
        },
        yaxis={"range": metrics["rubric"]["scale"]},
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def _bars(metrics: dict[str, Any], system: str, title: str, colour: str) -> Any:
    import plotly.graph_objects as go

    blocks = metrics["systems"][system]
    up, down = [], []
    for block in blocks.values():
        known = block["low"] is not None
        up.append(block["high"] - block["value"] if known else 0)
        down.append(block["value"] - block["low"] if known else 0)
    return go.Bar(
        name=title,
        x=[_label(metrics, name) for name in blocks],
        y=[block["value"] for block in blocks.values()],
        error_y={"array": up, "arrayminus": down, "thickness": 1.2, "width": 3},
        customdata=[[block["n"], block["failures"]] for block in blocks.values()],
        hovertemplate="%{x}: %{y:.2f} (n = %{customdata[0]}, failures %{customdata[1]})"
        "<extra>%{fullData.name}</extra>",
        marker_color=colour,
    )


def _label(metrics: dict[str, Any], name: str) -> str:
    mark = "" if metrics["headlines"][name]["status"] == "headline" else " *"
    return f"{name.capitalize()}{mark}"
