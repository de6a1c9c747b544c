"""Figures of the ingestion, drawn from its counts. Each title says what was found, with its n."""

from math import log10
from typing import Any

from mental_slm.pipelines.ingestion.cleaning import QUARANTINE_REASONS, REASONS
from mental_slm.pipelines.ingestion.counting import ALL
from mental_slm.pipelines.ingestion.tables import PERSONAL_DATA_KINDS, matrix
from mental_slm.tasks import DATASET_TASK, SPLITS

#: Okabe-Ito colours, told apart with colour-blindness too; in the order of datasets and of labels.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_WHITE_WRITING = ("#0072B2", "#009E73", "#D55E00")


def draw_corpus(counts: dict[str, Any]) -> Any:
    """Draw the posts per dataset and split, and beside them the share of each label.

    Args:
        counts: Result of the node ``count_ingestion``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    from plotly.subplots import make_subplots

    rows = counts["rows"]
    parts = [(d, split) for d in counts["labels"] for split in SPLITS if rows[d][split]]
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        column_widths=[0.24, 0.76],
        horizontal_spacing=0.02,
        subplot_titles=["posts", "share of each label"],
    )
    figure.add_trace(_size_bars(counts, parts), row=1, col=1)
    for place in range(max(len(labels) for labels in counts["labels"].values())):
        figure.add_trace(_label_bars(counts, parts, place), row=1, col=2)
    figure.update_layout(barmode="stack", showlegend=False)
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    figure.update_xaxes(range=[0, max(rows[d][split] for d, split in parts) * 1.45], col=1)
    figure.update_xaxes(range=[0, 1], col=2)
    figure.update_yaxes(autorange="reversed")
    sizes = ", ".join(f"{rows[ALL][split]:,} {split}" for split in SPLITS if rows[ALL][split])
    title = f"{rows[ALL]['kept']:,} posts: {sizes}"
    return _finish(figure, counts, title, ", ".join(counts["labels"]), 150 + 40 * len(parts))


def draw_lengths(counts: dict[str, Any]) -> Any:
    """Draw how long the posts are, in words on a logarithmic axis, one panel per dataset.

    Args:
        counts: Result of the node ``count_ingestion``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    from plotly.subplots import make_subplots

    lengths = {name: found for name, found in counts["lengths"].items() if name != ALL}
    figure = make_subplots(rows=len(lengths), shared_xaxes=True, vertical_spacing=0.03)
    for row, (dataset, found) in enumerate(lengths.items(), start=1):
        total = sum(found["histogram"]["posts"])
        shares = [posts / total for posts in found["histogram"]["posts"]]
        colour = _dataset_colour(dataset)
        figure.add_scatter(
            x=found["histogram"]["from"],
            y=[*shares, 0],
            line={"shape": "hv", "color": colour},
            fill="tozeroy",
            name=dataset,
            hovertemplate="from %{x} words: %{y:.1%} of the posts<extra>%{fullData.name}</extra>",
            row=row,
            col=1,
        )
        median = found["words"]["p50"]
        figure.add_vline(x=median, line={"color": "black", "width": 1.5, "dash": "dot"}, row=row)
        figure.add_annotation(
            text=f"<b>{dataset}</b>, n = {total:,}<br>median {median} words<br>95 % up to "
            f"{found['words']['p95']:,}<br>longest {found['words']['max']:,}",
            x=1.01,
            xref="paper",
            xanchor="left",
            y=0.5,
            yref=f"y{row if row > 1 else ''} domain",
            align="left",
            showarrow=False,
        )
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    end = max(found["words"]["max"] for found in lengths.values())
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{n:,}" for n in ticks], range=[0, log10(end * 1.2)]
    )
    figure.update_xaxes(title="words", row=len(lengths))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=4)
    every = counts["lengths"][ALL]["words"]
    medians = {name: found["words"]["p50"] for name, found in lengths.items()}
    shortest, longest = (
        min(medians, key=lambda n: medians[n]),
        max(medians, key=lambda n: medians[n]),
    )
    title = f"Half of the {counts['rows'][ALL]['kept']:,} posts have at most {every['p50']} words"
    note = f"median: {shortest} {medians[shortest]}, {longest} {medians[longest]}"
    figure = _finish(
        figure,
        counts,
        title,
        f"{note if shortest != longest else ''}; share of posts by number of words, dotted: median",
        height=150 + 110 * len(lengths),
    )
    figure.update_annotations(font={"size": 12})
    return figure.update_layout(showlegend=False, margin={"r": 150})


def draw_removals(counts: dict[str, Any]) -> Any:
    """Draw why posts were removed, one bar per reason, stacked by dataset.

    Args:
        counts: Result of the node ``count_ingestion``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    rows = counts["rows"][ALL]
    removed = sum(rows[reason] for reason in REASONS)
    names = [
        f"{reason.replace('_', ' ')}<br><sup>"
        f"{'quarantined' if reason in QUARANTINE_REASONS else 'dropped'}</sup>"
        for reason in REASONS
    ]
    figure = _stacked_bars(
        names,
        {
            dataset: [counts["rows"][dataset][reason] for reason in REASONS]
            for dataset in counts["labels"]
        },
        [rows[reason] for reason in REASONS],
    )
    most = max(REASONS, key=lambda reason: rows[reason])
    share = removed / (rows["in"] - rows["forgotten"])
    title = f"{removed:,} of {rows['in'] - rows['forgotten']:,} posts were removed ({share:.1%})"
    note = f'most often for "{most.replace("_", " ")}" (n = {rows[most]:,})'
    return _finish(figure, counts, title, note if removed else "", height=160 + 52 * len(REASONS))


def draw_leakage(counts: dict[str, Any]) -> Any:
    """Draw how many held-out posts stand in which train part, before and after cleaning.

    Args:
        counts: Result of the node ``count_ingestion``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    leakage = counts["leakage"]
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=["before cleaning", "after cleaning"],
    )
    sums = {}
    for col, when in enumerate(("before", "after"), start=1):
        learnt, held_out, cells = matrix(leakage[when])
        found = [[cells.get((a, b)) for b in held_out] for a in learnt]
        sums[when] = sum(cell["exact"] + cell["near"] for cell in leakage[when])
        figure.add_trace(
            go.Heatmap(
                x=[f"{part}<br>n = {n:,}" for part, n in held_out.items()],
                y=list(learnt),
                z=[[None if c is None else c["exact"] + c["near"] for c in row] for row in found],
                text=[[_cell(c) for c in row] for row in found],
                texttemplate="%{text}",
                zmin=0,
                zmax=max(
                    1, *(c["exact"] + c["near"] for c in leakage["before"] + leakage["after"])
                ),
                colorscale=[[0, "#F2F2F2"], [0.001, "#FDE0C5"], [1, "#D55E00"]],
                showscale=False,
                xgap=2,
                ygap=2,
                hovertemplate="%{y} in %{x}: %{text}<extra></extra>",
            ),
            row=1,
            col=col,
        )
    figure.update_xaxes(tickangle=-60, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, constrain="domain")
    title = (
        f"Held-out posts that stand in a part learnt from: {sums['before']:,} before cleaning, "
        f"{sums['after']:,} after"
    )
    note = (
        "columns: held-out posts, rows: where the same text stands, in brackets: near copies "
        f"({leakage['near_duplicate']:.0%} of the words); summed over all pairs"
    )
    height = 270 + 44 * len({cell["from"] for cell in leakage["before"]})
    return _finish(figure, counts, title, note, height=height)


def draw_personal_data(counts: dict[str, Any]) -> Any:
    """Draw in how many posts personal data was found and masked, by kind, stacked by dataset.

    Args:
        counts: Result of the node ``count_ingestion``.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    found = counts["personal_data"]
    figure = _stacked_bars(
        [title for title, _ in PERSONAL_DATA_KINDS.values()],
        {
            dataset: [found[dataset].get(kind, 0) for kind in PERSONAL_DATA_KINDS]
            for dataset in found
            if dataset != ALL
        },
        [found[ALL].get(kind, 0) for kind in PERSONAL_DATA_KINDS],
    )
    every = found[ALL]
    title = (
        f"Personal data was masked in {every['any']:,} of {every['posts']:,} posts "
        f"({every['any'] / every['posts']:.1%})"
    )
    note = "posts by kind; a post can hold several kinds"
    return _finish(figure, counts, title, note, height=160 + 52 * len(PERSONAL_DATA_KINDS))


def _size_bars(counts: dict[str, Any], parts: list[tuple[str, str]]) -> Any:
    import plotly.graph_objects as go

    sizes = [counts["rows"][dataset][split] for dataset, split in parts]
    return go.Bar(
        x=sizes,
        y=[" ".join(part) for part in parts],
        orientation="h",
        text=[f"{size:,}" for size in sizes],
        textposition="outside",
        cliponaxis=False,
        marker_color="#999999",
        hovertemplate="%{y}: %{x:,} posts<extra></extra>",
    )


def _label_bars(counts: dict[str, Any], parts: list[tuple[str, str]], place: int) -> Any:
    """Draw the share of the label that is at this place in its task; parts without one have 0."""
    import plotly.graph_objects as go

    shares, texts = [], []
    for dataset, split in parts:
        label, of_split = [*counts["labels"][dataset].items(), *[("", {})] * (place + 1)][place]
        share = of_split.get(split, 0) / counts["rows"][dataset][split]
        shares.append(share)
        texts.append(f"{label}<br>{share:.0%}" if share else "")
    colour = _colour(place)
    return go.Bar(
        x=shares,
        y=[" ".join(part) for part in parts],
        orientation="h",
        text=texts,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": "white" if colour in _WHITE_WRITING else "black", "size": 11},
        marker={"color": colour, "line": {"color": "white", "width": 1}},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )


def _stacked_bars(names: list[str], by_dataset: dict[str, list[int]], sums: list[int]) -> Any:
    """Draw horizontal bars, one colour per dataset, the sum of each at its end."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for dataset, values in by_dataset.items():
        colour = _dataset_colour(dataset)
        figure.add_bar(
            name=dataset,
            x=values,
            y=names,
            orientation="h",
            marker={"color": colour, "line": {"color": "white", "width": 1}},
            hovertemplate="%{y}: %{x:,}<extra>%{fullData.name}</extra>",
        )
    figure.add_scatter(
        x=sums,
        y=names,
        text=[f" {n:,}" for n in sums],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(
        barmode="stack",
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(title="posts", range=[0, max(1, *sums) * 1.08])
    figure.update_yaxes(autorange="reversed")
    return figure


def _finish(figure: Any, counts: dict[str, Any], title: str, note: str, height: int) -> Any:
    figure.update_layout(
        template="plotly_white",
        title={"text": f"{title}<br><sup>data edition {counts['edition']}; {note}</sup>"},
        font={"size": 12},
        height=height,
        margin={"t": 100, "r": 30, "b": 50},
    )
    figure.update_annotations(font={"size": 13})
    figure.update_yaxes(automargin=True)
    return figure


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    return f"{cell['exact']} (+{cell['near']})" if cell["near"] else str(cell["exact"])


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _dataset_colour(dataset: str) -> str:
    return _colour(list(DATASET_TASK).index(dataset))
