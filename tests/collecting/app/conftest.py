"""A stub of the chat-completions protocol, which the arena asks."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

# What an endpoint may send in place of an answer, by the prompt that asks for it.
ODD = {
    "half": b'data: {"choices": [{"delta": {"content": "half a sen"}}]}\n\n',
    "garbage": b"data: {not json\n\ndata: [DONE]\n\n",
    "list": b"data: [1, 2]\n\ndata: [DONE]\n\n",
    "null": b'data: {"choices": [null]}\n\ndata: [DONE]\n\n',
    "parts": b'data: {"choices": [{"delta": {"content": [{"text": "x"}]}}]}\n\ndata: [DONE]\n\n',
    "error": b'data: {"choices": [{"delta": {"content": "so "}}]}\n\ndata: {"error": {"code": 500}}\n\n',
    "nothing": b"data: [DONE]\n\n",
    "page": b"<html>a proxy's page</html>",
    "bytes": b"\xff\xfe\x00" * 200,
    "line": b"data: " + b"x" * 3_000_000,
}


class Stub(BaseHTTPRequestHandler):
    """Answers in three pieces, names its model, and breaks on demand."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["messages"][0]["content"] == "break" and body["model"] == "two":
            self.send_error(500)
            return
        assert body["stream"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        odd = ODD.get(body["messages"][0]["content"])
        if odd is not None:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(odd)
            return
        if body["messages"][0]["content"] == "stall":
            self.wfile.write(ODD["half"])
            self.wfile.flush()
            self.server.stalled.wait(10)
            return
        for piece in ("I think ", body["messages"][0]["content"], f" <b>({body['model'][::-1]})</b>"):
            self.wfile.write(f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n".encode())
        self.wfile.write(b'data: {"choices": []}\n\ndata: [DONE]\n\n')

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.stalled = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.stalled.set()
    server.shutdown()
    thread.join()
    server.server_close()
