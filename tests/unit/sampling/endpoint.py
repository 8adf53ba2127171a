"""An endpoint that speaks OpenAI's protocol on this machine and keeps every request body."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint:
    """A server on this machine. `faults` are answered first, one for each request, then answers."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.keys: set[str] = set()
        self.faults: list[int] = []
        self.poisoned = ""
        self.reply = lambda body, text: f"I was asked {text[-8:]!r}, seed {body.get('seed')}"
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append({"path": self.path, **body})
                endpoint.keys.add(self.headers["Authorization"])
                text = body["messages"][0]["content"] if "messages" in body else body["prompt"]
                if endpoint.faults or (endpoint.poisoned and endpoint.poisoned in text):
                    status = endpoint.faults.pop() if endpoint.faults else 400
                    return self.answer(status, {"error": {"message": f"fault {status}"}}, {"Retry-After": "0"})
                said = endpoint.reply(body, text)
                choice = {"index": 0, "finish_reason": "length" if "5 + 5" in text else "stop"}
                choice |= {"message": {"role": "assistant", "content": said}} if "messages" in body else {"text": said}
                usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
                return self.answer(200, {"id": "x", "object": "o", "created": 0, "model": body["model"],
                                         "choices": [choice], "usage": usage}, {})  # fmt: skip

            def answer(self, status: int, body: dict, headers: dict[str, str]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_arguments: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
