"""Open the ladders, then serve the page."""

from __future__ import annotations

import logging
from pathlib import Path

from ladder.config.schema import Dtype
from ladder.models.device import Device

MAXIMUM_UPLOAD = "10mb"
VISITS = 100
"""Of which the earlier pictures are remembered."""
STYLE = """
.gradio-container {max-width: 1100px !important; margin: 0 auto !important}
.grid-wrap {min-height: 0 !important; height: auto !important; max-height: none !important}
.small .grid-container {grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)) !important}
.small .grid-wrap {padding-top: 34px !important}
.submit-button {
    background: var(--button-primary-background-fill) !important;
    color: var(--button-primary-text-color) !important;
    padding: 6px 20px !important;
}
"""
"""Galleries as high as their pictures, in as many columns as fit; a button that is seen."""


def playground(
    model: Path | None,
    compare: Path | None,
    host: str,
    port: int,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Serve the page for the ladder in `model` until Ctrl-C; None is the shipped one.

    `compare` is the ladder that draws on the same noise. Raises ValueError without gradio, and
    for a device that this machine doesn't have.
    """
    try:
        import gradio as gr
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError(
            "the playground needs gradio: `make playground` installs and starts it"
        ) from error
    from ladder.playground.app import build
    from ladder.playground.drawing import Models

    # Each of gradio's requests to itself would be a line of the log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Fonts of the machine: the theme's own come from the network.
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    app = build(Models.open(model, compare, device, dtype))
    app.launch(
        server_name=host,
        server_port=port,
        share=False,
        max_file_size=MAXIMUM_UPLOAD,
        state_session_capacity=VISITS,
        footer_links=[],
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=theme,
        css=STYLE,
    )
    print(f"{app.local_url} (Ctrl-C ends it)", flush=True)
    app.block_thread()
