"""Open the ladders, then serve the page."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path

from ladder.config.schema import Dtype
from ladder.models.device import Device

VISITS = 100
"""Of which the earlier pictures are remembered."""
STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("style.css", "page.js"))
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""What a browser on this machine may call it."""


def playground(
    model: Path | None,
    compare: Path | None,
    host: str,
    port: int,
    device: Device = "auto",
    dtype: Dtype = "float32",
    auth: str | None = None,
) -> None:
    """Serve the page for the ladder in `model` until Ctrl-C; None is the shipped one.

    `compare` is the ladder that draws on the same noise, `auth` a user and a password that the page
    asks for, as USER:PASSWORD. Raises ValueError without gradio, for another form of `auth`, and
    for a device that this machine doesn't have.
    """
    user = read_auth(auth)
    try:
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError(
            "the playground needs gradio: `make playground` installs and starts it"
        ) from error
    from ladder.playground.app import MAXIMUM_UPLOAD, build
    from ladder.playground.drawing import Models

    # Each of gradio's requests to itself would be a line of the log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if not is_loopback(host) and user is None:
        logging.warning("whoever reaches %s may use the page: --auth asks for a password", host)
    # Fonts of the machine: the theme's own come from the network.
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    ).set(
        # White words are read on a darker button.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
    )
    app = build(Models.open(model, compare, device, dtype))
    app.launch(
        server_name=host,
        server_port=port,
        auth=user,
        share=False,
        max_file_size=f"{MAXIMUM_UPLOAD}mb",
        state_session_capacity=VISITS,
        footer_links=[],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=theme,
        css=STYLE.read_text(),
        js=SCRIPT.read_text(),
        app_kwargs={
            "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(host))]
        },
    )
    print(f"{app.local_url} (Ctrl-C ends it)", flush=True)
    app.block_thread()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def allowed_hosts(host: str) -> list[str]:
    """What a request may call a server that listens on `host`.

    A page of a stranger can let its own name point to this machine (DNS rebinding), so a server
    that only this machine reaches goes by the names of this machine. By which names others reach
    one isn't known.
    """
    return [*LOOPBACK, host] if is_loopback(host) else ["*"]


def read_auth(auth: str | None) -> tuple[str, str] | None:
    """User and password; raises ValueError, which doesn't show them, for another form."""
    if auth is None:
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise ValueError("--auth must be USER:PASSWORD, with neither of them empty")
    return user, password
