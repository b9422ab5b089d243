"""The page itself: what is where, and which event does what. Gradio, of the extra `app`, is given to it."""

import importlib.util
from pathlib import Path
from typing import Any

from jpst import weights
from jpst.app import words
from jpst.app.events import Events
from jpst.app.visit import Visit
from jpst.recipe import STRENGTH, Recipe

AT_ONCE = 4
"""requests that are answered at once, beside those for transfers"""
_CHANGING = ["start", "cancel", "status", "empty", "pictures", "finished", "strength", "notes"]
_CHANGING += ["regions", "regions_box", "command", "command_box"]
_PAIRING = ["pairs", "content_regions", "style_regions", "picked", "partner", "reset"]
"""what shows and changes which region takes its look from which"""


class Page:
    """The page, for any number of visitors, of whom one at a time has a transfer made."""

    def __init__(self, gradio: Any, folder: Path) -> None:
        """`gradio` is the library, `folder` the one that it takes files from."""
        self._gr, self.events = gradio, Events(gradio, folder)
        with gradio.Blocks(title="jpst", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as self.blocks:
            gradio.HTML(words.TITLE, elem_id="title", padding=False)
            with gradio.Row():
                with gradio.Column(scale=2, min_width=300):
                    self._lay_out_questions()
                with gradio.Column(scale=3, min_width=300):
                    self._lay_out_answers()
            self._connect()
        self.blocks.queue(default_concurrency_limit=AT_ONCE)

    def _lay_out_questions(self) -> None:
        gr, usual = self._gr, Recipe().name
        with gr.Row():
            self._photographs = {which: self._drop_zone(which) for which in words.PHOTOGRAPHS}
        self._preset = gr.Radio(words.PRESET_CHOICES, value=usual, label=words.NAMES["name"], elem_id="preset")
        with gr.Row():
            self._start = gr.Button("Transfer", variant="primary", elem_id="start")
            self._cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")
        with gr.Accordion("More", open=False, elem_id="more"):
            offered = [each for each in words.SEGMENTER_CHOICES if each[1] != "pspnet" or weights.find("pspnet")]
            label, hint = words.NAMES["segmenter"], words.SEGMENTER
            self._segmenter = gr.Dropdown(
                offered, value=Recipe().segmenter, label=label, info=hint, elem_id="segmenter"
            )
            values = words.defaults(usual, [*words.NUMBERS])
            self._numbers = {
                name: gr.Slider(least, most, values[name], step=step, label=words.NAMES[name], info=hint)
                for name, (least, most, step, hint) in words.NUMBERS.items()
            }

    def _drop_zone(self, which: str) -> Any:
        label, hint = words.PHOTOGRAPHS[which]
        return self._gr.Image(
            label=label,
            placeholder=f"{hint}\n\nDrop it here, or click",
            sources=["upload"],
            buttons=[],
            height=210,
            min_width=140,
            elem_id=which,
        )

    def _lay_out_answers(self) -> None:
        gr = self._gr
        self._status = gr.HTML("", visible=False, elem_id="status", padding=False)
        self._empty = gr.HTML(words.EMPTY, padding=False)
        self._pictures = gr.ImageSlider(
            visible=False, label="Before and after", interactive=False, buttons=["fullscreen"], elem_id="pictures"
        )
        with gr.Column(visible=False) as self._finished:
            self._lay_out_result()
        self._files = {
            name: gr.DownloadButton(visible="hidden", elem_id=f"file-{name}") for name in ("picture", "look")
        }
        self._notes = gr.HTML("", padding=False, elem_id="notes")
        with gr.Accordion("Regions", visible=False) as self._regions_box:
            with gr.Column(visible=False, elem_id="pairs") as self._pairs:
                self._lay_out_pairs()
            self._regions = gr.HTML("", padding=False, elem_id="regions")
        with gr.Accordion("The same from the command line", open=False, visible=False) as self._command_box:
            self._command = gr.Textbox(
                label="Command", interactive=False, buttons=["copy"], lines=2, max_lines=6, elem_id="command"
            )

    def _lay_out_pairs(self) -> None:
        gr = self._gr
        gr.HTML(f'<p class="note">{words.PAIRS}</p>', padding=False)
        with gr.Row():
            self._content_regions, self._style_regions = (
                gr.Image(label=label, interactive=False, buttons=[], min_width=240, elem_id=f"{which}-regions")
                for which, (label, _) in words.PHOTOGRAPHS.items()
            )
        self._picked = gr.Radio([], label=words.PICKED, elem_id="picked")
        self._partner = gr.Radio([], label=words.PARTNER, elem_id="partner")
        self._reset = gr.Button("Pairs as they were found", size="sm", visible=False, elem_id="reset")

    def _lay_out_result(self) -> None:
        least, most, _, _ = STRENGTH
        self._strength = self._gr.Slider(
            least, most, 1.0, step=0.05, label=words.NAMES["strength"], info=words.STRENGTH, elem_id="strength"
        )
        with self._gr.Row():
            self._save = self._gr.Button("Download the picture", variant="primary", elem_id="save")
            there = importlib.util.find_spec("colour") is not None  # colour-science, of the extra `lut`
            self._save_look = self._gr.Button("Download its colours as a LUT", visible=there, elem_id="save-look")

    def _connect(self) -> None:
        events = self.events
        for which, box in self._photographs.items():
            _on(box.upload, events.take(which), [box], [box], preprocess=False)
            _on(box.clear, events.drop(which))
        _on(self._preset.change, self._defaults, [self._preset], [*self._numbers.values()])
        choices = {"segmenter": self._segmenter, **self._numbers}
        shown = {name: getattr(self, f"_{name}") for name in _CHANGING + _PAIRING}
        _on(
            self._start.click,
            events.transfer(shown, [*choices]),
            [self._preset, *choices.values()],
            [*shown.values()],
            concurrency_limit=None,  # `Line` lets one at a time work: those who wait see it, and can cancel
        )
        _on(self._cancel.click, events.cancel(), outputs=[self._cancel])
        strengthened = [self._pictures, self._command]
        _on(self._strength.input, events.strengthen(), [self._strength], strengthened, trigger_mode="always_last")
        for button, make, file in ((self._save, Visit.written, "picture"), (self._save_look, Visit.look, "look")):
            ready = _on(button.click, events.file(make), [self._strength], [self._files[file]])
            ready.success(None, js=f"() => document.querySelector('#file-{file}').click()", show_progress="hidden")
        self._connect_pairs(shown)
        self.blocks.unload(events.leave())

    def _connect_pairs(self, shown: dict[str, Any]) -> None:
        """`shown`: what may change, by name."""
        events, outputs = self.events, [*shown.values()]
        _on(self._picked.input, events.pick(shown), [self._picked], outputs)
        _on(self._partner.input, events.give(shown), [self._partner], outputs)
        _on(self._reset.click, events.reset(shown), None, outputs)
        for which in words.PHOTOGRAPHS:
            _on(shown[f"{which}_regions"].select, events.click(which, shown), None, outputs)

    def _defaults(self, preset: str) -> list[Any]:
        return [*words.defaults(preset, [*self._numbers]).values()]


def _on(event: Any, handler: Any, inputs: Any = None, outputs: Any = None, **options: Any) -> Any:
    """Connects an event, without a spinner over what it changes, and without a public interface for programs."""
    return event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", **options)
