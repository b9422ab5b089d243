"""The page of `jpst app`: `session` and `display` do the work and know nothing of Gradio, the others make the page."""
