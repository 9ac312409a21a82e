"""Stands between a client and PostgreSQL; loses a message or all connections when told to."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

CHUNK = 2**20


class Proxy:
    """Hands on every byte, until a request holds `marker`: that one, or its answer, is lost."""

    def __init__(self, conninfo: str) -> None:
        server = conninfo_to_dict(conninfo)
        self._host, self._port = str(server["host"]), int(server["port"] or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._closing = threading.Event()
        self._down = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._loss: tuple[Literal["request", "answer"], bytes] = ("request", b"")
        self._losses = 0
        self.lost = 0
        self.conninfo = make_conninfo(
            conninfo, host="127.0.0.1", port=self._listener.getsockname()[1]
        )

    def lose(self, what: Literal["request", "answer"], marker: bytes, times: int = 1) -> None:
        """Breaks the connection at each of the next requests that hold `marker`: before the server
        gets it, or when the server has answered it."""
        self._loss, self._losses = (what, marker), times

    def go_down(self) -> None:
        """Breaks every connection and takes no new ones."""
        self._down.set()
        for each in self._sockets:
            _shut(each)

    def come_up(self) -> None:
        """Takes connections again."""
        self._down.clear()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._threads[0].join()
        self.go_down()
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _start(self, work: Callable[..., None], *given: object) -> None:
        self._threads.append(threading.Thread(target=work, args=given))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self._down.is_set():
                client.close()
                continue
            server = self._reach()
            self._sockets += [client, server]
            lose_answer = threading.Event()
            self._start(self._requests, client, server, lose_answer)
            self._start(self._answers, client, server, lose_answer)

    def _reach(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _requests(
        self, client: socket.socket, server: socket.socket, lose_answer: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(CHUNK):
                what, marker = self._loss
                if self.lost < self._losses and marker in data:
                    self.lost += 1
                    if what == "request":
                        break
                    lose_answer.set()
                server.sendall(data)
        _shut(client)
        _shut(server)

    def _answers(
        self, client: socket.socket, server: socket.socket, lose_answer: threading.Event
    ) -> None:
        with suppress(OSError):
            while (data := server.recv(CHUNK)) and not lose_answer.is_set():
                client.sendall(data)
        _shut(client)
        _shut(server)


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
