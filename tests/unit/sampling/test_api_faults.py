"""An endpoint that fails, lies and charges: what arrives is stored and billed once, and nothing is paid for twice."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distillery.config.model import ApiModel, Rate
from distillery.errors import UserError
from distillery.models.sources import prepare_model
from distillery.sampling.backends import api
from distillery.sampling.backends.pace import CircuitBreaker, Pace
from distillery.sampling.backends.replies import read_reply
from distillery.sampling.budget import Budget
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler
from distillery.sampling.store import CompletionStore

pytestmark = pytest.mark.reliability("server")

KEY = "sk-very-secret-key"
DECODING = {"temperature": 0.0, "max_new_tokens": 8}


def chat(content="5", finish="stop", usage=(10, 5), **message):
    """The body of an answer of a chat endpoint."""
    said = {"role": "assistant", "content": content} | message
    body = {"choices": [{"index": 0, "finish_reason": finish, "message": said}]}
    counts = {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}}
    return body | counts


TRY_AGAIN = [(429, b"", {"Retry-After": "0"}), (500, b"oops", {}), (503, {}, {}), (502, b"{", {})]
STRANGE = [b"{", [], {"choices": None}, chat(None), chat("x", "zap"), chat("a\ud800"), chat("x", usage=None)]


DRIP = b"a body that comes a byte at a time, for a minute"


class Server:
    """Answers each request with what `answer(prompt, number)` gives: (status, body or bytes, headers)."""

    def __init__(self, answer):
        self.prompts: list[str] = []
        self.bodies: list[dict] = []
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.prompts.append(body["messages"][0]["content"])
                    server.bodies.append(body)
                    number = len(server.prompts)
                status, content, headers = answer(server.prompts[number - 1], number)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if data is DRIP:
                    with contextlib.suppress(OSError):
                        for _ in range(3000):
                            self.wfile.write(b" ")
                            self.wfile.flush()
                            time.sleep(0.02)
                self.wfile.write(data)

            def log_message(self, *_):
                """Print nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """A sampler of a model behind a server that answers as told."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("DISTILLERY_API_RETRIES", "2")
    monkeypatch.chdir(tmp_path)
    servers = []

    def make(answer, limits=None, **model):
        server = Server(answer)
        servers.append(server)
        declared = ApiModel(**{"kind": "api", "id": "t", "endpoint": server.url, "key": "MY_KEY"} | model)
        made = prepare_model(declared, tmp_path / "model", parent=None, downloads=tmp_path)
        monkeypatch.setenv("DISTILLERY_PRICES", json.dumps({made.identity: [1e6, 2e6]}))
        sampler = CompletionSampler(tmp_path / "model", made.identity, "api", CompletionStore(str(tmp_path / "store")))
        sampler.budget = Budget(limits or {}, tmp_path / "ledger.jsonl")
        return sampler, server

    yield make
    for server in servers:
        server.http.shutdown()


def ask(sampler, count=40):
    requests = [Request(f"question {number}", 0, special_tokens=False) for number in range(count)]
    return sampler.complete(requests, DECODING, [], "test")


def stored(sampler):
    """Every completion in the store, by prompt."""
    store = CompletionStore(sampler.store.location)
    rows = [row for folder in store.series_folders() for _, table in store.tables(folder) for row in table.to_pylist()]
    return {row["prompt"]: row for row in rows}, len(rows)


SHAPES = {
    "plain": (chat("It is 5."), "It is 5.", "stop"),
    "cut off": (chat("It", "length"), "It", "length"),
    "no content": (chat(None), "", "failed"),
    "an empty text": (chat(""), "", "stop"),
    "a refusal": (chat(None, refusal="I cannot."), "I cannot.", "refused"),
    "a content filter": (chat("It is", "content_filter"), "It is", "refused"),
    "a filter without content": (chat(None, "content_filter"), "", "refused"),
    "an error": (chat("", "error"), "", "failed"),
    "an unknown end": (chat("It is 5.", "zap"), "It is 5.", "failed"),
    "an end that is no text": (chat("It is 5.", {"a": 1}), "It is 5.", "failed"),
    "a tool call": (chat(None, "tool_calls", tool_calls=[{"id": "x"}]), "", "failed"),
    "parts": (chat([{"type": "text", "text": "It "}, {"type": "text", "text": "is 5."}]), "It is 5.", "stop"),
    "an image alone": (chat([{"type": "image_url", "image_url": {"url": "x"}}]), "", "failed"),
    "a part that is a refusal": (chat([{"type": "refusal", "refusal": "I cannot."}]), "I cannot.", "refused"),
    "reasoning_content": (chat("5.", reasoning_content="2 + 3"), "<think>\n2 + 3\n</think>\n\n5.", "stop"),
    "reasoning": (chat("5.", reasoning="2 + 3"), "<think>\n2 + 3\n</think>\n\n5.", "stop"),
    "reasoning, cut off": (chat(None, "length", reasoning_content="2 +"), "<think>\n2 +\n</think>\n\n", "length"),
    "thinking parts": (
        chat([{"type": "thinking", "thinking": "2 + 3"}, {"type": "text", "text": "5."}]),
        "<think>\n2 + 3\n</think>\n\n5.",
        "stop",
    ),
    "think tags": (chat("<think>\n2 + 3\n</think>\n\n5."), "<think>\n2 + 3\n</think>\n\n5.", "stop"),
    "a lone surrogate": (chat("a\ud800b"), "a\ufffdb", "stop"),
    "no message": ({"choices": [{"finish_reason": "stop"}]}, "", "failed"),
    "no choices": ({"choices": []}, "", "failed"),
    "choices that are none": ({"choices": {"0": 1}}, "", "failed"),
    "a list": ([1, 2], "", "failed"),
    "a text": ("hello", "", "failed"),
    "nothing": (None, "", "failed"),
}


@pytest.mark.parametrize(("body", "text", "reason"), SHAPES.values(), ids=SHAPES)
def test_each_shape_of_a_response_is_kept_as_what_it_is(body, text, reason):
    reply = read_reply(body, "prompt", chat=True)
    assert (reply.text, reply.finish_reason) == (text, reason)
    reply.text.encode()


@pytest.mark.parametrize("usage", [None, (-5, -7), (10**12, 10**12), ("a", None), (True, False), (float("inf"), 2.5)])
def test_a_count_of_tokens_that_nobody_can_believe_is_estimated(usage):
    reply = read_reply(chat("x" * 40, usage=usage), "p" * 80, chat=True)
    assert reply.prompt_tokens == 20
    assert reply.completion_tokens in (10, 2)  # 2.5 is a believable count


def test_a_malformed_answer_is_paid_once_and_stops_nothing(teacher, monkeypatch):
    sampler, server = teacher(lambda prompt, _: (200, b"{not json" if prompt == "question 7" else chat(prompt), {}))
    answers = ask(sampler)
    assert [answer.finish_reason for answer in answers].count("failed") == 1
    assert answers[7].finish_reason == "failed" and answers[8].text == "question 8"
    assert len(server.prompts) == 40 == stored(sampler)[1]
    assert ask(sampler) == answers and len(server.prompts) == 40
    monkeypatch.setenv("DISTILLERY_REQUEST_AGAIN", "failed")
    ask(sampler)
    assert server.prompts[40:] == ["question 7"]


def test_an_answer_that_failed_gives_way_to_one_that_did_not(teacher, monkeypatch):
    sampler, server = teacher(lambda prompt, number: (200, chat(None) if number == 1 else chat("fine"), {}))
    assert ask(sampler, 1)[0].finish_reason == "failed"
    monkeypatch.setenv("DISTILLERY_REQUEST_AGAIN", "failed")
    assert ask(sampler, 1)[0].text == "fine"
    monkeypatch.delenv("DISTILLERY_REQUEST_AGAIN")
    assert ask(sampler, 1)[0].text == "fine" and len(server.prompts) == 2


def test_a_limit_of_money_is_never_passed_and_the_ledger_knows_every_answer(teacher):
    sampler, server = teacher(lambda prompt, _: (200, chat(prompt, usage=(3, 8)), {}), {"money": 80.0})
    with pytest.raises(UserError, match="budget"):
        ask(sampler)
    paid = len(server.prompts)
    assert paid * (3 + 2 * 8) <= 80 and paid == 4
    assert stored(sampler)[1] == paid
    told = Budget({"money": 80.0}, sampler.budget.ledger).spent
    assert (told["samples"], told["tokens"], told["money"]) == (4, 32, 76)


def test_without_a_count_of_tokens_the_budget_still_sees_something(teacher):
    sampler, server = teacher(lambda prompt, _: (200, chat("x" * 32, usage=None), {}), {"tokens": 40})
    with pytest.raises(UserError, match="budget"):
        ask(sampler)
    assert len(server.prompts) <= 5 and sampler.budget.spent["tokens"] == 8 * len(server.prompts)


@pytest.mark.parametrize(
    ("status", "message"), [(404, "no such model"), (403, "forbidden"), (429, "You exceeded your current quota")]
)
def test_refusals_alike_stop_the_job_after_a_few(teacher, status, message):
    sampler, server = teacher(lambda *_: (status, {"error": {"message": message}}, {}))
    with pytest.raises(UserError, match=f"refusals alike.*{message}"):
        ask(sampler, 300)
    assert len(server.prompts) <= 16 + 5


def test_answers_under_way_are_kept_when_a_key_is_refused(teacher):
    begun, answered = threading.Barrier(16, timeout=20), threading.Event()

    def answer(prompt, number):
        begun.wait()  # sixteen are under way
        if prompt == "question 3":
            answered.set()
            return 401, {"error": {"message": f"bad key {KEY}"}}, {}
        answered.wait(20)
        return 200, chat(prompt), {}

    sampler, server = teacher(answer)
    with pytest.raises(UserError, match="refuses the key") as caught:
        ask(sampler, 16)
    assert KEY not in str(caught.value)
    assert stored(sampler)[1] == 15 == len(server.prompts) - 1


@pytest.fixture
def ctrl_c():
    """Sends SIGINT to this process, which raises even where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_answers_under_way_are_kept_on_ctrl_c(teacher, ctrl_c):
    begun, interrupted = threading.Barrier(16, timeout=20), threading.Event()

    def answer(prompt, number):
        if begun.wait() == 0:
            ctrl_c()
            interrupted.set()
        interrupted.wait(20)
        return 200, chat(prompt), {}

    sampler, server = teacher(answer, {"samples": 1000})
    with pytest.raises(KeyboardInterrupt):
        ask(sampler, 16)
    assert stored(sampler)[1] == 16 == len(server.prompts)
    assert Budget({"samples": 1000}, sampler.budget.ledger).spent["samples"] == 16


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_key_that_the_server_echoes_ends_nowhere(teacher, status, caplog, tmp_path):
    caplog.set_level("DEBUG", logger="distillery")
    body = chat(f"your key is {KEY}") if status == 200 else {"error": {"message": f"no: {KEY}"}}
    sampler, _ = teacher(lambda *_: (status, body, {"Retry-After": "0"}))
    said = ""
    try:
        said = ask(sampler, 2)[0].text
    except UserError as error:
        said = str(error)
    assert KEY not in said and "[key]" in said
    assert KEY not in caplog.text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_address_with_a_password_is_refused_in_the_settings():
    with pytest.raises(ValueError, match="user name and password"):
        ApiModel(kind="api", id="t", endpoint="http://me:secret@host/v1")


def test_a_redirect_is_not_followed(teacher):
    other = Server(lambda *_: (200, chat("gotcha"), {}))
    sampler, _ = teacher(lambda *_: (307, b"", {"Location": other.url + "/chat/completions"}))
    with pytest.raises(UserError, match="307"):
        ask(sampler, 3)
    assert other.prompts == []
    other.http.shutdown()


def test_the_proxy_of_the_environment_is_used(teacher, monkeypatch):
    proxy = Server(lambda prompt, _: (200, chat(f"through the proxy: {prompt}"), {}))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    sampler, server = teacher(lambda *_: (200, chat("no proxy"), {}), endpoint="http://teacher.example/v1")
    assert [found.text for found in ask(sampler, 1)] == ["through the proxy: question 0"]
    assert server.prompts == []
    proxy.http.shutdown()


def test_a_response_that_drips_is_cut_off(teacher, monkeypatch):
    """A byte now and then keeps every single read short; the whole response has a limit of its own."""
    monkeypatch.setattr(api, "RESPONSE_SECONDS", 0.5)
    monkeypatch.setenv("DISTILLERY_API_RETRIES", "0")

    sampler, _ = teacher(lambda *_: (200, DRIP, {"Content-Length": "1000000"}))
    started = time.monotonic()
    with pytest.raises(UserError, match="requests failed for good"):
        ask(sampler, 1)
    assert time.monotonic() - started < 60


def test_a_response_without_end_is_cut_off(teacher, monkeypatch):
    monkeypatch.setattr(api, "RESPONSE_BYTES", 10_000)
    sampler, _ = teacher(lambda *_: (200, b" " * 50_000, {}))
    monkeypatch.setenv("DISTILLERY_API_RETRIES", "0")
    with pytest.raises(UserError, match="requests failed for good"):
        ask(sampler, 1)


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it(teacher):
    def answer(prompt, number):
        if "max_completion_tokens" not in server.bodies[number - 1]:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": message}}, {}
        return 200, chat(prompt), {}

    sampler, server = teacher(answer)
    assert [found.text for found in ask(sampler, 20)] == [f"question {number}" for number in range(20)]
    assert server.bodies[-1]["max_completion_tokens"] == 8 and "max_tokens" not in server.bodies[-1]


def test_requests_and_tokens_per_minute_are_kept_and_a_pause_slows_all():
    class Clock(threading.Event):
        """Time that passes only while somebody waits."""

        now = 100.0

        def wait(self, timeout=None):
            Clock.now += timeout
            return False

    stopped = Clock()
    pace = Pace(60, 1200, stopped, clock=lambda: Clock.now)
    for _ in range(10):
        assert pace.start(10)
    assert Clock.now == pytest.approx(100 + 9 * 1.0), "one request a second"
    assert pace.start(100) and pace.start(10)
    assert Clock.now == pytest.approx(110 + 5.0), "a hundred tokens take five seconds"
    pace.pause(30)
    before = Clock.now
    assert pace.start(10) and Clock.now == pytest.approx(before + 30)
    assert pace.start(10) and Clock.now == pytest.approx(before + 32), "half as fast afterwards"


def test_a_stopped_job_starts_nothing():
    stopped = threading.Event()
    stopped.set()
    assert not Pace(1, None, stopped).start(1)


def test_a_breaker_opens_on_equal_refusals_in_a_row_only():
    breaker = CircuitBreaker(same=3)
    for reason in ("a", "a", "b", "a", "a"):
        breaker.refused(reason)
    assert not breaker.is_open
    breaker.answered()
    for _ in range(3):
        breaker.refused("a")
    assert breaker.is_open


def test_rates_reach_the_backend(teacher):
    sampler, _ = teacher(lambda prompt, _: (200, chat(prompt), {}), rate=Rate(requests_per_minute=60_000))
    assert len(ask(sampler, 5)) == 5
    assert sampler._backend._pace._limits == [60_000]


FAULTY_REQUESTS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 400


@pytest.mark.reliability("server", cases=FAULTY_REQUESTS)
@pytest.mark.parametrize("seed", [1])
def test_every_answer_that_arrives_is_stored_once_and_billed_once(teacher, seed, monkeypatch):
    """Random faults of every kind, and the job again until all is there."""
    monkeypatch.setenv("DISTILLERY_API_RETRIES", "3")
    monkeypatch.setenv("DISTILLERY_REQUEST_AGAIN", "")
    count = FAULTY_REQUESTS
    draw, lock = random.Random(seed), threading.Lock()
    arrived: dict[str, int] = {}

    def answer(prompt, number):
        with lock:
            luck = draw.random()
            if luck < 0.15:
                return draw.choice(TRY_AGAIN)
            arrived[prompt] = arrived.get(prompt, 0) + 1
            if luck < 0.3:
                return 200, draw.choice(STRANGE), {}
        return 200, chat(prompt), {}

    sampler, _ = teacher(answer, {"samples": 10**9})
    monkeypatch.setattr(api, "_retry_after", lambda *_: 0.0)
    for _ in range(20):
        try:
            ask(sampler, count)
            break
        except UserError:
            continue
    by_prompt, rows = stored(sampler)
    assert set(arrived.values()) == {1}, "no answer was paid for twice"
    assert rows == len(by_prompt) == len(arrived) == count
    assert Budget({"samples": 10**9}, sampler.budget.ledger).spent["samples"] == count
