"""`rapport serve` and `rapport work`: the processes that stay."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from api.cli.terminal import Exit, Failed, say, settings
from api.composition import Service, open_service


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: RAPPORT_HOST, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0: any. Default: RAPPORT_PORT, 8000."),
    ] = None,
) -> None:
    """Serve the API and the pages.

    \b
    Examples:
      rapport serve
      rapport serve --port 8080
    """
    loaded = settings(host=host, port=port)
    with (
        stoppable(),
        _listening(loaded.host, loaded.port) as listener,
        open_service(loaded, progress=say) as service,
    ):
        _run(service, listener)


def _run(service: Service, listener: socket.socket) -> None:
    from api.app import create_app  # noqa: PLC0415  the other commands need no web

    config = uvicorn.Config(
        create_app(service),
        log_level=service.settings.log_level,
        access_log=False,  # reads of the record are entries; a second list of them is a leak
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    _Server(config, ready=lambda: _announce(listener)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it is up, and ends on a signal as if it had been asked to."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The library would raise the signal again afterwards; what is open is to be closed first.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


@contextmanager
def stoppable() -> Iterator[None]:
    """Ends what is inside on SIGTERM and on Ctrl-C alike: everything closed, exit status 0."""

    def stop(_: int, __: FrameType | None) -> None:
        raise SystemExit(Exit.OK)

    before = {sig: signal.signal(sig, stop) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket to serve on, taken before anything else is started."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise Failed(
            Exit.UNAVAILABLE,
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.",
            "Something else may be using the port: try another by --port or RAPPORT_PORT.",
        ) from None
    with listener:
        yield listener


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Rapport is at http://{shown}:{port}")
