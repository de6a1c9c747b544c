"""The report as one HTML page that needs nothing else: no network, no second file.

The page is rendered from the Markdown of the report, so that the two never differ; a paragraph that
is nothing but a link to a figure's JSON becomes the figure.
"""

import html
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

#: The browser itself refuses whatever would leave the page.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)

#: Figures keep this width on a phone and scroll sideways, as wide tables do.
_FIGURE_HEIGHT = 460

#: A paragraph that is nothing but a link to a figure.
_LINK = re.compile(r'<p><a href="([^"]+\.json)">([^<]*)</a></p>')

_STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --muted: #5c6875; --line: #d9dfe5;
  --back: #ffffff; --band: #f4f6f8; --mark: #00695c; --warn: #fff4e0; --warn-line: #d98e04; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --muted: #9aa6b2; --line: #37414b;
  --back: #14191f; --band: #1d242c; --mark: #4db6ac; --warn: #2e2617; --warn-line: #d98e04; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 72rem; color: var(--text);
  background: var(--back); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: .75rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul { max-width: 50rem; }
h1 + p { font-size: 1.08rem; max-width: none; background: var(--band); padding: 1rem 1.15rem;
  border-left: 4px solid var(--mark); }
#before-you-quote-a-number + ul { max-width: none; background: var(--warn);
  border-left: 4px solid var(--warn-line); padding: .9rem 1.1rem .9rem 2.1rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .92rem; margin: 1rem 0; }
a { color: var(--mark); }
code { font-size: .88em; background: var(--band); padding: .1em .3em; border-radius: 3px; }
.wide { overflow-x: auto; margin: .75rem 0 1.25rem; }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; vertical-align: bottom; white-space: nowrap; }
td { white-space: nowrap; }
td.words { white-space: normal; min-width: 15rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--back);
  white-space: normal; min-width: 8.5rem; }
.interval { color: var(--muted); }
figure { margin: 1rem 0 1.5rem; background: #ffffff; color: #1c2430; border-radius: 6px;
  border: 1px solid var(--line); }
figcaption { padding: .75rem 1rem 0; font-size: .92rem; }
figure .wide { margin: 0; }
figure .wide > div { min-width: 38rem; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; font-size: 15px; }
  h1 { font-size: 1.35rem; } th, td { padding: .35rem .5rem; } }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
"""


def render_page(report: str, figures: Mapping[str, Any]) -> str:
    """Render the report.

    Args:
        report: The Markdown; its first line is the title.
        figures: By the file name that the report links to, each a ``plotly.graph_objects.Figure``.
    """
    from plotly.offline import get_plotlyjs

    title = html.escape(report.splitlines()[0].removeprefix("# "))
    body, chapters = _render(report)
    body = _LINK.sub(
        lambda found: (
            _embed(found[1], figures[found[1]], found[2]) if found[1] in figures else found[0]
        ),
        body,
    )
    links = " ".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in chapters)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n"
        f"<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"{body.replace('<h2', f'<nav>{links}</nav>{chr(10)}<h2', 1)}\n</body>\n</html>\n"
    )


def _render(report: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the body, and anchor and text of every chapter."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(report)
    chapters = []
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            anchor = re.sub(r"\W+", "-", content.content.lower())
            token.attrSet("id", anchor)
            chapters.append((anchor, html.escape(content.content)))
        elif token.type == "td_open" and _is_prose(content.content):
            token.attrSet("class", "words")
    body = str(parser.renderer.render(tokens, parser.options, {}))
    body = body.replace("<table>", '<div class="wide"><table>')
    body = body.replace("</table>", "</table></div>")
    interval = re.compile(r"(\[[+-]?[\d.]+%?, [+-]?[\d.]+%?\])")
    return interval.sub(r'<span class="interval">\1</span>', body), chapters


def _is_prose(cell: str) -> bool:
    """Tell whether a cell is words, which may wrap, or a number with its interval."""
    return len(cell) > 32


def _embed(name: str, figure: Any, text: str) -> str:
    """Return a figure with its own title as the caption, where it can wrap."""
    import plotly.graph_objects as go

    shown = go.Figure(figure)
    title, *rest = (shown.layout.title.text or text).split("<br>")
    rest = [html.escape(re.sub("<[^>]*>", "", line)) for line in rest]
    caption = " ".join([f"<strong>{html.escape(title)}</strong>", *rest])
    shown.update_layout(
        title=None,
        height=_FIGURE_HEIGHT,
        autosize=True,
        margin={"t": 40, "r": 20, "b": 40, "l": 60},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.08, "x": 0},
    )
    drawn = shown.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{name.removesuffix('.json')}",  # else a random one, and other bytes
        config={"responsive": True, "displayModeBar": False},
    )
    return f'<figure><figcaption>{caption}</figcaption><div class="wide">{drawn}</div></figure>'
