"""A hub on this machine: the routes of the Hugging Face Hub that fetching at a commit needs, and faults in them."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".parquet", ".bin")
"""Files with these endings are in large file storage."""


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def entry(name: str, content: bytes) -> dict:
    """A file as a listing shows it."""
    if not name.endswith(LARGE):
        return {"type": "file", "path": name, "size": len(content), "oid": blob(content)}
    sha256 = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    lfs = {"oid": sha256, "size": len(content), "pointerSize": len(pointer)}
    return {"type": "file", "path": name, "size": len(content), "oid": blob(pointer), "lfs": lfs}


class FakeHub:
    """Repositories by `models/<id>` or `datasets/<id>`, each with its commits and branches.

    Attributes:
        asked: Every request, `GET /...`.
        refuse: Repository -> (status, X-Error-Code) of every answer about it.
        listed: Repository -> entries that its listings have besides.
        served: File name -> bytes that are served in place of the commit's.
        headers: Headers that replace those of a file's answer.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.listed: dict[str, list[dict]] = {}
        self.served: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.stopped = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit, to which the branch moves."""
        content = json.dumps({name: blob(data) for name, data in sorted(files.items())})
        commit = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits.setdefault(repository, {})[commit] = files
        self.branches.setdefault(repository, {})[branch] = commit
        return commit

    def stop(self) -> None:
        """From now on the port is closed."""
        if not self.stopped:
            self.stopped = True
            self.server.shutdown()
            self.server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} /{path}")
            parts = path.split("/")
            if parts[0] == "api":
                repository, rest = "/".join(parts[1:4]), parts[4:]
            elif parts[0] == "datasets":
                repository, rest = "/".join(parts[:3]), parts[3:]
            else:
                repository, rest = "models/" + "/".join(parts[:2]), parts[2:]
            if repository in hub.refuse:
                return self.fail(*hub.refuse[repository])
            if repository not in hub.commits:
                return self.fail(404, "RepoNotFound")
            revision = rest[1] if len(rest) > 1 else "main"
            commit = hub.branches[repository].get(revision, revision)
            files = hub.commits[repository].get(commit)
            if files is None:
                return self.fail(404, "RevisionNotFound")
            if parts[0] != "api":
                return self.file("/".join(rest[2:]), files, commit)
            entries = [entry(name, content) for name, content in files.items()] + hub.listed.get(repository, [])
            if rest[:1] == ["tree"]:
                return self.answer(json.dumps(entries).encode())
            return self.answer(json.dumps({"id": repository.split("/", 1)[1], "sha": commit, "siblings": []}).encode())

        do_HEAD = do_GET

        def file(self, name: str, files: dict[str, bytes], commit: str) -> None:
            if name not in files:
                return self.fail(404, "EntryNotFound")
            content, listed = hub.served.get(name, files[name]), entry(name, files[name])
            digest = listed["lfs"]["oid"] if "lfs" in listed else listed["oid"]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
            if "lfs" in listed:
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            return self.answer(content, headers | hub.headers)

        def fail(self, status: int, code: str) -> None:
            self.answer(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

        def answer(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    return Handler


def start_hub(patch: pytest.MonkeyPatch) -> FakeHub:
    """A hub without repositories, which the client of this process asks, without pauses between its attempts."""
    hub = FakeHub()
    constants = "huggingface_hub.constants"
    patch.setattr(f"{constants}.ENDPOINT", hub.url)
    patch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    patch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
    return hub


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by name: a repository for `FakeHub.add`."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(monkeypatch):
    made = start_hub(monkeypatch)
    yield made
    made.stop()
