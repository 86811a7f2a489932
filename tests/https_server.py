"""A real https server with a certificate that only these tests trust, and the fixtures that start it."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import trustme


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpsServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.answer(self)

    def give(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """An answer; length: what the header says, where that is not the truth. Below 0: no such header."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if length is None or length >= 0:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def give_file(self, data: bytes) -> None:
        """As any file server does: whole, or from where the client asks for it."""
        wanted = self.headers.get("Range")
        if wanted is None:
            self.give(200, data)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            self.give(416, Content_Range=f"bytes */{len(data)}")
        else:
            self.give(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")


class HttpsServer(http.server.ThreadingHTTPServer):
    """Answers as `answer` does, and remembers what it was asked: (path, Range header)."""

    block_on_close = True

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.host = f"localhost:{self.server_address[1]}"
        self.asked: list[tuple[str, str | None]] = []
        self.answer: Callable[[Handler], None] = lambda handler: handler.give(404)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, path: str = "/model.onnx") -> str:
        return f"https://{self.host}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many tests are about."""

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        connection.settimeout(5)
        return connection, address

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Trusts these tests' servers and nobody else."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[HttpsServer]:
    server = HttpsServer(authority)
    yield server
    server.stop()


@pytest.fixture
def other_server(authority: trustme.CA) -> Iterator[HttpsServer]:
    server = HttpsServer(authority)
    yield server
    server.stop()
