"""The wire, faked: an OpenAI-compatible server on loopback that says what a test scripts. Everything behind it is real."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any]], str]


@contextmanager
def model_server(
    script: Script, delay_s: float = 0.0, models: Sequence[str] = ("scripted",)
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serves `/v1/models` and `/v1/chat/completions`; yields the base URL and the list of request bodies received.

    On leaving it is gone: connections that are held open get no further reply.
    """
    requests: list[dict[str, Any]] = []
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def parse_request(self) -> bool:
            return not gone.is_set() and super().parse_request()

        def do_GET(self) -> None:
            self._json(
                {
                    "object": "list",
                    "data": [{"id": m, "object": "model", "created": 0, "owned_by": "tests"} for m in models],
                }
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body)
            text = script(body)
            usage = {"prompt_tokens": 7, "completion_tokens": len(text.split()), "total_tokens": 7 + len(text.split())}
            if not body.get("stream"):
                message = {"role": "assistant", "content": text}
                choice = {"message": message, "finish_reason": "stop"}
                if body.get("logprobs"):  # nine to one for what the script says
                    top = [{"token": text, "logprob": math.log(0.9)}, {"token": "<other>", "logprob": math.log(0.1)}]
                    choice["logprobs"] = {"content": [top[0] | {"top_logprobs": top}]}
                self._json(_body("chat.completion", **choice) | {"usage": usage})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for at in range(0, len(text), 9):
                    self._event(
                        _body("chat.completion.chunk", delta={"content": text[at : at + 9]}, finish_reason=None)
                    )
                    time.sleep(delay_s)
                self._event(_body("chat.completion.chunk", delta={}, finish_reason="stop"))
                self._event(_body("chat.completion.chunk") | {"choices": [], "usage": usage})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:  # the client hung up, as a cancelled one should
                pass
            self.close_connection = True

        def _event(self, body: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
            self.wfile.flush()

        def _json(self, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        gone.set()
        server.shutdown()
        server.server_close()


def _body(kind: str, **choice: Any) -> dict[str, Any]:
    return {"id": "x", "object": kind, "created": 0, "model": "scripted", "choices": [{"index": 0} | choice]}
