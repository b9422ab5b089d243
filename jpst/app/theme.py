"""How the page looks: colours, sizes, and small pieces of HTML. Nothing comes from elsewhere, fonts neither."""

import html
from collections.abc import Sequence

from jpst.app.session import State
from jpst.regions.semantics import Row

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONOSPACED = ["ui-monospace", "Menlo", "Consolas", "monospace"]
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
#title h1 { font-size: 1.55rem; margin: 0; letter-spacing: -0.01em; }
#title p { color: var(--body-text-color-subdued); margin: 0.15rem 0 0; max-width: 46rem; }
.told { margin: 0 0 0.4rem; }
.told.failed { border-left: 4px solid var(--error-border-color, #c00); padding-left: 0.6rem; }
.bar { height: 0.5rem; border-radius: 0.25rem; background: var(--border-color-primary); overflow: hidden; }
.bar div { height: 100%; background: var(--color-accent); transition: width 0.5s; }
.notes { margin: 0; padding-left: 1.1rem; color: var(--body-text-color-subdued); font-size: 0.92rem; }
.regions { width: 100%; border-collapse: collapse; font-size: 0.92rem; }
.regions th { text-align: left; font-weight: 600; border-bottom: 1px solid var(--border-color-primary); }
.regions td, .regions th { padding: 0.3rem 0.8rem 0.3rem 0; vertical-align: top; }
.regions td.number, .regions th.number { text-align: right; white-space: nowrap; }
.regions td.remark { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.empty { display: flex; flex-direction: column; justify-content: center; align-items: center; min-height: 22rem;
  text-align: center; border: 1px dashed var(--border-color-primary); border-radius: var(--block-radius);
  color: var(--body-text-color-subdued); padding: 1rem; gap: 0.4rem; }
.empty strong { color: var(--body-text-color); font-size: 1.05rem; }
#command textarea { font-family: var(--font-mono); font-size: 0.85rem; }
@media (max-width: 640px) { .empty { min-height: 9rem; } }
"""


def status(state: State) -> str:
    """What is being done, how far it is, and how long it will take."""
    left = "" if state.left is None else f" {_duration(state.left)} left."
    said = f'<p class="told" role="status">{html.escape(state.told or "")}{left}</p>'
    if state.share is None or state.over:
        return said
    percent = round(100 * state.share)
    return (
        f'{said}<div class="bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width: {percent}%"></div></div>'
    )


def failed(sentence: str) -> str:
    """Why something could not be done."""
    return f'<p class="told failed" role="alert">{html.escape(sentence)}</p>'


def regions(rows: Sequence[Row]) -> str:
    """The regions and their pairing as a table."""
    head = '<th>region</th><th class="number">photograph</th><th class="number">look</th><th>remark</th>'
    body = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{content:.0f} %</td><td class="number">{style:.0f} %</td>'
        f'<td class="remark">{html.escape(remark)}</td></tr>'
        for name, content, style, remark in rows
    )
    return f'<table class="regions"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def notes(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _duration(seconds: float) -> str:
    return f"About {seconds / 60:.0f} min" if seconds >= 100 else f"About {max(seconds, 1):.0f} s"
