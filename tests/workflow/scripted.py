"""A teacher, a committee and a reader of prompts behind one loopback endpoint; every answer is written down here.

Models name the same address in every run, which carry_out.py leads to the port of the server: completion ids, seeds and
all draws that follow from them are the same on each machine. An answer depends on the text of the prompt alone.

    greek letters    teachers and reviewers of the committee
    two letters      a question: `kk 2 + 2`
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "teachers.test"
ENDPOINT = f"http://{HOST}/v1"
GOLD = {"bb 1 + 2": 3, "kk 2 + 2": 4, "zz 4 + 1": 5, "aa 3 + 3": 6, "mm 5 + 2": 7, "xx 6 + 2": 8}
UNTAUGHT = {"vv 7 + 2": 9, "ww 1 + 1": 2}
"""In the test split only."""

CUT = "length"
REFUSED = "content_filter"


def sum_of(question: str) -> str:
    return question[3:]


def right(question: str, sign: str = "") -> str:
    return f" {sum_of(question)}{sign} --> {GOLD[question]}"


def wrong(question: str, sign: str = "") -> str:
    return f" {sum_of(question)}{sign} --> 99"


# Each question's two samples: the first sees the exemplar `first`, the second `second`.
RATIONALES = {
    "bb": ("right", "right"),
    "kk": ("wrong", "right"),
    "zz": ("right, cut", "wrong"),
    "aa": ("no answer", "no answer"),
    "mm": ("refused", "right"),
    "xx": ("right", "cut"),
}

PROGRAMS = {
    "bb": ("def solution():\n    a = 1\n    return a + 2", "def solution():\n    a = 50\n    return a + 2"),
    "kk": ("def solution():\n    return a + 2", "def solution():\n    a = 2\n    return a + 2"),
    "zz": ("import os\ndef solution():\n    return 5", "def solution():\n    a = 4\n    return a + 9"),
    "aa": ("I am sorry, I cannot.", "three and three"),
    "mm": ("def solution():\n    a = 5\n    return", "def solution():\n    return (5 +"),
    "xx": ("def solution():\n    a = 6\n    return a + 2", "def solution():\n    a = 6\n    return a + 2"),
}

TEACHERS = {
    "bb": {"alpha": "right", "beta": "right", "gamma": "right"},
    "kk": {"alpha": "right", "beta": "wrong", "gamma": "right"},
    "zz": {"alpha": "wrong", "beta": "right", "gamma": "right"},
    "aa": {"alpha": "right", "beta": "no answer", "gamma": "wrong"},
    "mm": {"alpha": "right", "beta": "right", "gamma": "refused"},
    "xx": {"alpha": "wrong", "beta": "wrong", "gamma": "right"},
}

# (question, author) -> score of each reviewer. `?` is no score.
SCORES = {
    ("bb", "alpha"): {"beta": "5", "gamma": "5"},
    ("bb", "beta"): {"alpha": "5", "gamma": "5"},
    ("bb", "gamma"): {"alpha": "5", "beta": "5"},
    ("kk", "alpha"): {"beta": "5", "gamma": "4"},
    ("kk", "beta"): {"alpha": "4", "gamma": "3"},
    ("kk", "gamma"): {"alpha": "3", "beta": "3"},
    ("zz", "alpha"): {"beta": "1", "gamma": "2"},
    ("zz", "beta"): {"alpha": "2", "gamma": "3"},
    ("zz", "gamma"): {"alpha": "5", "beta": "?"},
    ("aa", "alpha"): {"beta": "2", "gamma": "5"},
    ("aa", "beta"): {"alpha": "1", "gamma": "1"},
    ("aa", "gamma"): {"alpha": "3", "beta": "2"},
    ("mm", "alpha"): {"beta": "5", "gamma": "5"},
    ("mm", "beta"): {"alpha": "4", "gamma": "4"},
    ("xx", "alpha"): {"beta": "5", "gamma": "5"},
    ("xx", "beta"): {"alpha": "5", "gamma": "5"},
    ("xx", "gamma"): {"alpha": "2", "beta": "5"},
}

ASKED = {"bb": " 3", "kk": " 4", "zz": " 5", "aa": " 66", "mm": " none", "xx": " 88"}
"""Second call of the two-call prompt."""


def written(kind: str, question: str, sign: str = "") -> tuple[str, str]:
    """Text and finish reason of a rationale."""
    return {
        "right": (right(question, sign), "stop"),
        "right, cut": (right(question, sign), CUT),
        "wrong": (wrong(question, sign), "stop"),
        "no answer": (f" {sum_of(question)}{sign} is", "stop"),
        "cut": (f" {sum_of(question)}{sign} and then", CUT),
        "refused": ("", REFUSED),
    }[kind]


def reply(prompt: str) -> tuple[str, str]:
    """What the endpoint writes after a prompt, and why it ends there.

    Raises:
        LookupError: Nobody ought to ask this.
    """
    if found := re.fullmatch(r"Q: (first|second) .*\nA: .*\n\nQ: (.*)\nA:", prompt):
        kinds = RATIONALES[found[2][:2]]
        second = found[1] == "second"
        return written(kinds[second], found[2], sign=" so" if second else "")
    if found := re.fullmatch(r"Program: (first|second) .*\ndef solution\(\):\n.*\n.*\n\nProgram: (.*)\n", prompt):
        return PROGRAMS[found[2][:2]][found[1] == "second"], "stop"
    if found := re.fullmatch(r"Teacher (\w+), solve: (.*)\nSolution:", prompt):
        return written(TEACHERS[found[2][:2]][found[1]], found[2], sign=f" {found[1][:2]}")
    if found := re.fullmatch(r"Teacher (\w+), correct: (.*)\nWrong: (.*)\nRight: (.*)\nFeedback:", prompt):
        return f" {found[1]}: {sum_of(found[2])} is {found[4]}", "stop"
    if found := re.fullmatch(r"Reviewer (\w+), judge: (.*)\nSolution: (.*)\nHint: (.*)\nJudgement:(.*)", prompt, re.S):
        if not found[5]:
            return f" {found[1]} has read it.", "stop"
        if found[5] != f" {found[1]} has read it.\nScore: [":
            raise LookupError(prompt)
        author = {"al": "alpha", "be": "beta", "ga": "gamma"}[re.search(r" (al|be|ga)\b", found[3])[1]]
        return SCORES[found[2][:2], author][found[1]], "stop"
    if found := re.fullmatch(r"Ask: (.*)\nReason:(.*)", prompt, re.S):
        if not found[2]:
            return f" so {found[1]}", "stop"
        if found[2] != f" so {found[1]}\nTherefore the answer is":
            raise LookupError(prompt)
        return ASKED[found[1][:2]], "stop"
    raise LookupError(prompt)


def write_questions(folder: Path) -> None:
    """The data files of the task: the test split asks what train asks, in another order, and two questions more."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, golds in (("train", GOLD), ("test", {**UNTAUGHT, **dict(reversed(GOLD.items()))})):
        lines = [
            json.dumps({"name": q[:2], "question": q, "gold": str(gold), "solution": f"solution of {q[:2]}"})
            for q, gold in golds.items()
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


class Endpoint:
    """The server. `requests` holds the body of each request that it answered."""

    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.unknown: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    text, reason = reply(body["prompt"])
                except LookupError as error:
                    endpoint.unknown.append(str(error))
                    return self.answer(400, {"error": {"message": f"nobody ought to ask this: {error}"}})
                endpoint.requests.append({"path": self.path, **body})
                choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
                usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
                if text in set("12345") and "structured_outputs" in body:
                    choice["logprobs"] = {"top_logprobs": [{text: -0.1, "1" if text != "1" else "2": -2.4}]}
                return self.answer(200, {"id": "x", "object": "text_completion", "created": 0, "model": body["model"],
                                         "choices": [choice], "usage": usage})  # fmt: skip

            def answer(self, status: int, body: dict) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_arguments: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def environment(self) -> dict[str, str]:
        """What sends a job's requests here."""
        return {"SCRIPTED_ENDPOINT": f"{HOST}:{self.server.server_port}", "DISTILLERY_API_RETRIES": "0"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
