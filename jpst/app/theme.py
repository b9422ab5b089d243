"""How the page looks: colours, sizes, and small pieces of HTML. Nothing comes from elsewhere, fonts neither."""

import html
from collections.abc import Sequence

from jpst.app.session import State
from jpst.regions.semantics import Row

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONOSPACED = ["ui-monospace", "Menlo", "Consolas", "monospace"]
CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important; }
.html-container { padding: 0 !important; }
#title h1 { font-size: 1.55rem; margin: 0; letter-spacing: -0.01em; }
#title p { color: var(--body-text-color-subdued); margin: 0.15rem 0 0; }
.told { margin: 0.1rem 0 0.5rem; }
.told.failed { border-left: 4px solid #c2410c; padding-left: 0.6rem; }
.bar { height: 0.5rem; border-radius: 0.25rem; background: var(--border-color-primary); overflow: hidden; }
.bar div { height: 100%; background: var(--color-accent); transition: width 0.5s; }
.note { margin: 0 0 0.3rem; color: var(--body-text-color-subdued); font-size: 0.92rem; overflow-wrap: anywhere; }
.regions { width: 100%; border-collapse: collapse; font-size: 0.92rem; margin: 0 !important; border: 0 !important; }
.regions tr { border: 0 !important; }
.regions th, .regions td { padding: 0.3rem 0 !important; border: 0 !important; vertical-align: top; text-align: left; }
.regions .row th, .regions .row td { border-top: 1px solid var(--border-color-primary) !important; }
.regions .number { text-align: right; white-space: nowrap; width: 6.5rem; }
.regions .remark { color: var(--body-text-color-subdued);
  font-size: 0.85rem; line-height: 1.35; overflow-wrap: anywhere; padding-top: 0 !important; }
.empty { display: flex; flex-direction: column; justify-content: center; align-items: center; min-height: 22rem;
  text-align: center; border: 1px dashed var(--border-color-primary); border-radius: var(--block-radius);
  color: var(--body-text-color-subdued); padding: 1rem; gap: 0.4rem; }
.empty strong { color: var(--body-text-color); font-size: 1.05rem; }
#content-regions img, #style-regions img { cursor: pointer; }
#command textarea { font-family: var(--font-mono); font-size: 0.85rem; }
@media (max-width: 640px) { .empty { min-height: 9rem; } .regions .number { width: 4.5rem; } }
"""
SCRIPT = """<script>
// Browsers know the kind of a file by its suffix, and some do not know photographs of phones: they would be refused.
const kinds = {heic: "heic", heif: "heif", hif: "heif", avif: "avif", tif: "tiff", tiff: "tiff", jp2: "jp2"};
const known = Object.getOwnPropertyDescriptor(Blob.prototype, "type").get;
Object.defineProperty(File.prototype, "type", {configurable: true, get() {
  const kind = kinds[this.name.split(".").pop().toLowerCase()];
  return known.call(this) || (kind ? `image/${kind}` : "");
}});
</script>"""


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
    body = "".join(
        f'<tr class="row"><td>{html.escape(name)}</td><td class="number">{content:.1f} %</td>'
        f'<td class="number">{style:.1f} %</td></tr>{_remark(remark)}'
        for name, content, style, remark in rows
    )
    head = '<th>region</th><th class="number">content</th><th class="number">style</th>'
    return f'<table class="regions"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _remark(remark: str) -> str:
    lines = "<br>".join(map(html.escape, remark.split("; ")))
    return f'<tr><td class="remark" colspan="3">{lines}</td></tr>' if remark else ""


def notes(sentences: Sequence[str]) -> str:
    """Sentences, each on a line of its own."""
    return "".join(f'<p class="note">{html.escape(sentence)}</p>' for sentence in sentences)


def _duration(seconds: float) -> str:
    return f"About {seconds / 60:.0f} min" if seconds >= 100 else f"About {max(seconds, 1):.0f} s"
