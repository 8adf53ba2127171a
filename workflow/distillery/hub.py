"""Files of a Hugging Face repository at a pinned commit: fetched, or taken from the cache, and checked before use.

    listing   name -> size and digest of every file of the commit, asked of the Hub once and kept
    files     fetched by `huggingface_hub` into a cache that is ordered by commit, and compared with the listing

So a file that is used is the commit's own, or the job fails: another commit in the cache is never an answer, offline or
not, and a file that was cut, changed or exchanged in the cache is found. Without a network everything works that was
fetched before. The Hub is trusted to list a commit truthfully: its interface shows no way to compute the commit from
the files. Checking reads every file once (about a second per GB).
"""

import contextlib
import glob
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from distillery.errors import UserError
from distillery.files import sha256_file, write_json

if TYPE_CHECKING:
    import httpx2


class ListedFile(BaseModel):
    """What the Hub says about a file of a commit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(ge=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Of files in large file storage."""
    git_sha1: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Name of the file's blob in git; of files in large file storage, the blob of their pointer."""


Listing = dict[str, ListedFile]
_LISTING = TypeAdapter(Listing)


@dataclass(frozen=True)
class Repository:
    """A repository at a commit.

    Args:
        commit: 40 hex digits. Branches and tags are refused with the settings: what they name can change.
        cache: Folder that keeps what was fetched.
        file: The file that names the repository, for messages. `key`: where in it.
    """

    kind: Literal["model", "dataset"]
    id: str
    commit: str
    cache: Path
    file: str
    key: str | None = None

    def listing(self) -> Listing:
        """The files of the commit.

        Raises:
            UserError: The Hub cannot be asked and was not asked before, or lists a name that leads out of a folder.
        """
        kept = self.cache / "listings" / f"{self.kind}s--{self.id.replace('/', '--')}" / f"{self.commit}.json"
        try:
            return self._checked(_LISTING.validate_json(kept.read_bytes()))
        except (FileNotFoundError, ValidationError):
            pass
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        try:
            with _checked_answers():
                entries = [
                    entry
                    for entry in HfApi().list_repo_tree(
                        self.id, recursive=True, revision=self.commit, repo_type=self.kind
                    )
                    if isinstance(entry, RepoFile)
                ]
            listing = {
                entry.path: ListedFile(
                    size=entry.lfs.size if entry.lfs else entry.size,
                    sha256=entry.lfs.sha256 if entry.lfs else None,
                    git_sha1=entry.blob_id,
                )
                for entry in entries
            }
        except Exception as error:  # the client raises a dozen kinds of error, and any on an answer that is no listing
            raise self._refusal(error) from error
        self._checked(listing)
        write_json(kept, {name: entry.model_dump(mode="json") for name, entry in listing.items()})
        return listing

    def fetch(self, names: Iterable[str]) -> Path:
        """The folder that holds these files of the commit, each compared with the listing.

        Raises:
            UserError: A file is not in the listing, cannot be had, or is not the commit's.
        """
        from huggingface_hub import snapshot_download

        listing, names = self.listing(), sorted(names)
        for name in names:
            if name not in listing:
                raise self._fault(f"has no file {name}", f"It has {', '.join(sorted(listing)) or 'no files'}")
        try:
            with _checked_answers():
                folder = Path(
                    snapshot_download(
                        self.id,
                        repo_type=self.kind,
                        revision=self.commit,
                        cache_dir=self.cache,
                        allow_patterns=[glob.escape(name) for name in names],
                    )
                )
        except AttributeError as error:  # a thread that loses its connection closes the client of the other threads
            raise self._fault("was not fetched before, and the connection to the Hub was lost", _CONNECT) from error
        except Exception as error:  # as above
            raise self._refusal(error) from error
        for name in names:
            self._check(folder / name, listing[name])
        return folder

    def _check(self, path: Path, listed: ListedFile) -> None:
        """Compare a file with the listing: its size first, which needs no reading."""
        if not path.is_file():
            raise self._fault(
                f"the Hub, or its cache, did not give {path.name} of this commit",
                "Check HF_ENDPOINT, or empty the cache and run again",
                path,
            )
        size = path.stat().st_size
        if size != listed.size:
            problem = f"has {size} bytes; the commit's file has {listed.size}"
        elif listed.sha256 and sha256_file(path) != listed.sha256:
            problem = f"is not the commit's file, whose SHA-256 is {listed.sha256}"
        elif not listed.sha256 and git_blob(path) != listed.git_sha1:
            problem = f"is not the commit's file, whose git blob is {listed.git_sha1}"
        else:
            return
        raise self._fault(problem, f"Delete {path.resolve()} and {path}; the next run fetches it again", path)

    def _checked(self, listing: Listing) -> Listing:
        for name in listing:
            if not is_plain_path(name):
                raise self._fault(f"lists a file {name!r}, which leads out of its folder", "Do not use this repository")
        return listing

    def _fault(self, problem: str, remedy: str, path: Path | None = None) -> UserError:
        where = f"{self.id} at {self.commit}"
        if path is not None:
            return UserError(f"{problem} ({where})", file=path, remedy=remedy)
        return UserError(f"{where} {problem}", file=self.file, key=self.key, remedy=remedy)

    def _refusal(self, error: Exception) -> UserError:
        """What went wrong in terms of the Hub, and the remedy for it."""
        import httpx2
        from huggingface_hub import errors

        for kind, problem, remedy in (
            (
                errors.GatedRepoError,
                "needs its licence accepted",
                "Accept it on the repository's page, and set HF_TOKEN to a token of that account",
            ),
            (
                errors.RepositoryNotFoundError,
                "is not on the Hub, or not for this account",
                "Check the name; a private repository needs HF_TOKEN",
            ),
            (
                errors.RevisionNotFoundError,
                "does not exist: no such commit",
                "Check `revision`: the commit's 40 digits",
            ),
            (errors.OfflineModeIsEnabled, "was not fetched before, and HF_HUB_OFFLINE is set", _CONNECT),
            (errors.IncompleteSnapshotError, "is not complete in the cache, and the Hub cannot be reached", _CONNECT),
            (errors.LocalEntryNotFoundError, "is not in the cache, and the Hub cannot be reached", _CONNECT),
            (httpx2.TransportError, "was not fetched before, and the Hub cannot be reached", _CONNECT),
        ):
            if isinstance(error, kind) or isinstance(error.__cause__, kind):
                return self._fault(problem, remedy)
        reason = " ".join(str(error).split()) or type(error).__name__
        return self._fault(f"cannot be fetched: {reason[:500]}", "Check the name, the commit and the network")


_CONNECT = "Run once with a network, or set DISTILLERY_DOWNLOADS to a folder that holds it; other commits are not used"


def leads_outside(path: str) -> bool:
    """Whether a path or pattern of a repository can name something that is not in its folder, on any system.

    >>> [leads_outside(path) for path in ("data/*.csv", "./x", "../x", "/etc/x", "C:x", "a/../../x", "https://h/x")]
    [False, False, True, True, True, True, True]
    """
    anchored = PurePosixPath(path).anchor or PureWindowsPath(path).anchor or PureWindowsPath(path).drive
    return bool(anchored) or ".." in path.replace("\\", "/").split("/") or "://" in path or "::" in path


def is_plain_path(name: str) -> bool:
    """Whether a name is that of a file below a folder, written in the one way that git writes it.

    >>> [is_plain_path(name) for name in ("data/train.csv", "../x", "", "a//b", "./x", f"a{chr(10)}b")]
    [True, False, False, False, False, False]
    """
    shown = all(ord(character) >= 32 and not 0xD800 <= ord(character) < 0xE000 for character in name)
    return shown and not leads_outside(name) and not {"", "."} & set(name.split("/"))


def git_blob(path: Path) -> str:
    """The name that git gives to a file's content: SHA-1 of a header with the size, and the content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _checked_answers() -> Iterator[None]:
    """While it is open, an answer of a server cannot choose where the client writes."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks["response"]
    hooks.append(_refuse_path_as_etag)
    try:
        yield
    finally:
        hooks.remove(_refuse_path_as_etag)


def _refuse_path_as_etag(response: "httpx2.Response") -> None:
    """The client (2.4) names a file of its cache after this header, unchecked: `../../x` would be written there."""
    if response.request.method != "HEAD" or "X-Repo-Commit" not in response.headers:
        return
    etag = response.headers.get("X-Linked-Etag") or response.headers.get("ETag") or ""
    if not is_plain_path(name := etag.removeprefix("W/").strip('"')) or "/" in name or "\\" in name:
        raise ValueError(f"the server gave {response.request.url.path} the ETag {etag!r}, which is no digest")
