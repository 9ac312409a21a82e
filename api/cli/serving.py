"""`rapport serve` and `rapport work`: the processes that stay."""

import gc
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Annotated, NoReturn

import typer
import uvicorn

from api.cli import web
from api.cli.demonstration import filled
from api.cli.terminal import Exit, Failed, explain, keep_trace, run, say, settings
from api.composition import Service, open_service, personas, prepare
from api.demo import DemonstrationStuck
from api.rebuilding import hands_for
from api.sharing import Helpers, helpers_for
from api.worker import Worker
from domain.cycles import search_rarely
from infra.checkpoint_store import CheckpointStore
from infra.notary import Notary, Plan
from infra.recorder import ClinicDatastore
from infra.settings import Settings
from infra.tiles import SubtreeFiller, TiledHashes
from infra.view_store import ViewStore
from projections.dossier import VIEWS

_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 600.0
_LAST_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_QUIET_TICKS, _LONG_QUIET_TICKS = 20, 600
"""Of 0.1 s each."""
_MANY_UNCOLLECTED, _MOST_UNCOLLECTED = 1_000, 1_000_000
"""Requests."""
_ENDING_SECONDS = 10.0
_SHOWN_SECONDS = 1.0
_GIVES_WAY = 19
"""How nice the worker is to the doors where there is not enough for both: a command is waited for,
and with more commands at once a view takes less for each."""


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("work")(work)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: RAPPORT_HOST, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0: any. Default: RAPPORT_PORT, 8000."),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill an empty clinic with the demonstration first.")
    ] = False,
    worker: Annotated[
        bool,
        typer.Option(help="Keep the views here; without it, `rapport work` does so elsewhere."),
    ] = True,
) -> None:
    """Serve the API and the pages, and keep the views in a process beside, until stopped.

    It stops on Ctrl-C or SIGTERM, and the embedded database with it if nobody else uses that.

    \b
    Examples:
      rapport serve --demo
      rapport serve --port 8080
      rapport serve --host 0.0.0.0 --no-worker
    """
    loaded = settings(host=host, port=port)
    if demo and loaded.database_url is not None:
        raise Failed(
            Exit.USAGE,
            "--demo fills the embedded database only, and RAPPORT_DATABASE_URL names another.",
            "Unset it, or leave out --demo.",
        )
    Plan.of(loaded)  # what cannot be used is told before anything is opened
    with ExitStack() as opened:
        opened.enter_context(_stoppable())
        listener = opened.enter_context(_listening(loaded.host, loaded.port))
        service = opened.enter_context(open_service(loaded, progress=say))
        prepare(service)
        if demo:
            _demonstrate(service)
            if worker:
                _catch_up(service)
        _log_to_stderr(loaded)
        if worker:
            opened.enter_context(_signing(service))
            opened.enter_context(_working(loaded))
        _run(service, listener)


def work() -> None:
    """Keep the views at the end of the log, until stopped. Any number of workers may run.

    It signs checkpoints of the log too, and has witnesses and a timestamp authority vouch for
    them, where such are set.

    It touches `worker.alive` in RAPPORT_HOME whenever the views are up to date, at least once a
    minute while it is well.

    \b
    Examples:
      rapport work
    """
    loaded = settings()
    Plan.of(loaded)  # what cannot be used is told before anything is opened
    with _stoppable(), open_service(loaded, progress=say) as service:
        _log_to_stderr(loaded)
        say(f"Keeping the views of clinic {service.clinic} in the {service.database.description}.")
        with _signing(service):
            _keep_views(service)


# --- The web --------------------------------------------------------------------------------


def _demonstrate(service: Service) -> None:
    """The demonstration, where there is room for it; else what is there is served."""
    try:
        filled(service)
    except DemonstrationStuck as stuck:
        say(f"No demonstration: {stuck}")


def _run(service: Service, listener: socket.socket) -> None:
    from api.app import create_app  # noqa: PLC0415  the other commands need no web

    search_rarely()
    app = create_app(service)
    server = _Server(web.config(app, app.state.straight), lambda: _announce(service, listener))
    try:
        server.run(sockets=[listener])
    finally:
        app.state.tray.close()  # what is being recorded is, before the record is closed


class _Server(uvicorn.Server):
    """Says when it is up, and ends on a signal as if it had been asked to."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._total = self._collected = self._quiet = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        self._collect_when_quiet()
        return await super().on_tick(counter)

    def _collect_when_quiet(self) -> None:
        """Looks at all there is for what is left of cycles, when nobody has asked for a while.

        That takes half a second where much of the record is in memory, and nothing is answered
        meanwhile. Most of what a request leaves behind is gone with it, or young and found early.
        So after a few requests it waits until whoever reads a page is hardly about to ask again.
        """
        now = self.server_state.total_requests
        self._quiet = self._quiet + 1 if now == self._total else 0
        self._total = now
        waited = now - self._collected
        enough = _QUIET_TICKS if waited >= _MANY_UNCOLLECTED else _LONG_QUIET_TICKS
        if waited and (self._quiet >= enough or waited >= _MOST_UNCOLLECTED):
            gc.collect()
            self._collected = now

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The library would raise the signal again afterwards; what is open is to be closed first.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _announce(service: Service, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"\nRapport is at {url}")
    known = personas(service)
    if known:
        typer.echo(f"Sign in at {url}/sign-in as one of the people of the demonstration:")
        for persona in known:
            typer.echo(f"  {persona.role.value.replace('_', ' '):<20}{persona.name}")
    else:
        typer.echo("For the API make a token: rapport token create --role administrator")
    typer.echo("Stop with Ctrl-C.\n")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket to serve on, taken before anything else is started."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise Failed(
            Exit.UNAVAILABLE,
            f"Cannot listen on {host}, port {port}: {_reason(error)}.",
            "Something else may be using the port: try another by --port or RAPPORT_PORT.",
        ) from None
    with listener:
        yield listener


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror)
    return os.strerror(error.errno)


# --- The worker -----------------------------------------------------------------------------


@contextmanager
def _views(service: Service) -> Iterator[ViewStore]:
    store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
    try:
        yield store
    finally:
        store.close()


class _Watched(Worker):
    """Shows whoever watches that it keeps up."""

    def __init__(self, service: Service, store: ViewStore, helpers: Helpers | None = None) -> None:
        subtrees = SubtreeFiller(service.database.dsn("views"), service.clinic)
        hands = partial(hands_for, service.settings, service.clinic)
        log = service.log
        idle = log.fill_snapshots
        super().__init__(
            VIEWS.all(), log, store, subtrees=subtrees, hands=hands, helpers=helpers, idle=idle
        )
        self._alive = service.settings.home / "worker.alive"
        self._shown = -math.inf

    def catch_up(self) -> None:
        super().catch_up()
        if (now := time.monotonic()) >= self._shown + _SHOWN_SECONDS:
            self._alive.touch(mode=0o600)
            self._shown = now


def _catch_up(service: Service) -> None:
    """Brings the views to the end of the demonstration, so that the first page shows it.

    Where that fails the doors open all the same: the worker tells why, and tries again.
    """
    say("Building the views")
    with _views(service) as store, suppress(Exception):
        _Watched(service, store).catch_up()


def _keep_views(service: Service) -> None:
    """Keeps them at the end of the log, until this process is stopped."""
    helping = helpers_for(service.settings, service.clinic, VIEWS.all())
    with _views(service) as store, helping as helpers:
        _Watched(service, store, helpers).run(threading.Event())


@contextmanager
def _working(loaded: Settings) -> Iterator[None]:
    """A worker in a process beside the doors: folding takes them no time."""

    def work(stop: threading.Event) -> None:
        # The process inherits this: Ctrl-C reaches both, and the doors end the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=work_beside, args=(loaded,))
        process.start()
        try:
            while not stop.wait(_LOOK_SECONDS):
                if not process.is_alive():
                    raise Failed(
                        Exit.UNEXPECTED,
                        f"Their process ended with status {process.exitcode}.",
                        "It is started again.",
                    )
        finally:
            process.terminate()
            process.join(_ENDING_SECONDS)
            process.kill()

    with _beside("worker", work, "The views stand still."):
        yield


def work_beside(loaded: Settings) -> NoReturn:
    """What the worker's process does; it ends with the process that began it, however that ends."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "it was begun by the doors"
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    def keep() -> None:
        with _stoppable():
            os.nice(_GIVES_WAY)
            threading.Thread(target=follow, daemon=True).start()
            with open_service(loaded) as service:
                _log_to_stderr(loaded)
                _keep_views(service)

    sys.exit(run(keep))


@contextmanager
def _signing(service: Service) -> Iterator[None]:
    """A notary beside the worker: the log's heads are signed, and others vouch for them."""
    datastore = ClinicDatastore(service.database.dsn("app"), service.clinic, pool_size=2)
    notary = Notary(
        service.log,
        TiledHashes(datastore),
        CheckpointStore(datastore),
        service.plan,
        service.clock,
    )
    try:
        # It may wait for somebody outside; what it has done so far is kept.
        with _beside("notary", notary.run, "Checkpoints stand still.", _LAST_SECONDS):
            yield
    finally:
        datastore.close()


@contextmanager
def _beside(
    name: str, work: Callable[[threading.Event], None], fails: str, seconds: float | None = None
) -> Iterator[None]:
    """Work in a thread of this process. What it cannot do must not take the doors along.

    At the end it is waited for, so many seconds at most if that is given.
    """
    stop = threading.Event()

    def run() -> None:
        pause = _PAUSE_SECONDS
        while not stop.is_set():
            try:
                work(stop)
            except Exception as error:  # told, kept, tried again
                failed = explain(error) or keep_trace(error)
                say(f"{fails} {failed.what} {failed.mend}")
                stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(seconds)


# --- Both -----------------------------------------------------------------------------------


class Lines(logging.Formatter):
    """Each line of a message begins as the first does: whoever reads by lines can tell them."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.replace("\n", f"\n{text[: text.index(record.message)]}")


def _log_to_stderr(loaded: Settings) -> None:
    # What no line shows is not found out for each (docs.python.org/3/howto/logging.html).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler()
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=loaded.log_level.upper(), handlers=[handler])
    if loaded.log_level != "debug":
        for chatty in ("uvicorn", "psycopg"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ends what is inside on SIGTERM and on Ctrl-C alike: everything closed, exit status 0."""

    def stop(_: int, __: FrameType | None) -> None:
        raise SystemExit(Exit.OK)

    before = {sig: signal.signal(sig, stop) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
