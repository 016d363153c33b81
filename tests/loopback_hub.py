"""A Hub on this machine: speaks what the real client calls, keeps commits in memory, and fails when told to.

It is strict where the Hub is: digests and sizes of large files are checked, a commit is all or nothing, and its parent
must be the head of the branch.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
_ACCOUNTS = {WRITER: ("user", "write"), READER: ("user", "read"), STRANGER: ("stranger", "write")}
_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
_CARD_BLOCK = re.compile(r"\A---\n(.*?)\n---", re.DOTALL)


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, code: str | None = None, body: dict | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body or {"error": message}


@dataclass(frozen=True)
class Stored:
    """A file of a commit."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """What git calls it: of a large file, the pointer."""
        return git_hash(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
            % (self.sha256.encode(), len(self.content))
            if self.large
            else self.content
        )


@dataclass(frozen=True)
class Commit:
    """A version of a repository."""

    parent: str | None
    message: str
    files: dict[str, Stored]


@dataclass
class Repository:
    """Branches, commits, and the large files that have arrived."""

    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def add(self, branch: str, message: str, files: dict[str, Stored], parent: str | None = None) -> str:
        """Makes a commit and moves the branch to it."""
        parent = parent or self.heads.get(branch)
        facts = [parent, message, [(name, file.blob_id) for name, file in sorted(files.items())], len(self.commits)]
        commit = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
        self.commits[commit] = Commit(parent, message, files)
        (self.pull_requests if branch.startswith("refs/pr/") else self.heads)[branch] = commit
        return commit

    def find(self, revision: str) -> str:
        """The commit of a branch, a tag, a pull request or a hash."""
        for names in (self.heads, self.tags, self.pull_requests):
            if revision in names:
                return names[revision]
        if revision not in self.commits:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return revision

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Contents at a revision, without .gitattributes."""
        found = self.commits[self.find(revision)].files
        return {name: file.content for name, file in found.items() if name != ".gitattributes"}


@dataclass
class Fault:
    """What goes wrong with a call: the connection breaks ("drop"), or a status is all that comes back.

    The work is not done then; but it is with "late" (the connection breaks) and "gateway" (504), its answer lost.
    """

    call: str
    how: str | int
    times: int


class LoopbackHub:
    """The server; use it in a `with` block.

    Args:
        large_from: files of this many bytes travel ahead of the commit, as do those that are no text.
        part_size: larger files travel in parts of this many bytes; None for whole.
    """

    def __init__(self, large_from: int = 10_000_000, part_size: int | None = None):
        self.large_from, self.part_size = large_from, part_size
        self.repositories: dict[str, Repository] = {}
        self.calls: list[tuple[str, str]] = []  # (name of the call, HTTP method)
        self.faults: list[Fault] = []
        self.parts: dict[tuple[str, int], bytes] = {}
        self.lock = Lock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "LoopbackHub":
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def repository(self, repo: str, files: dict[str, str] | None = None, private: bool = False) -> Repository:
        """Puts a repository there, as if made before."""
        made = self.repositories[repo] = Repository(private)
        made.add("main", "initial commit", {".gitattributes": Stored(_ATTRIBUTES, False)})
        if files:
            stored = {name: Stored(text.encode(), False) for name, text in files.items()}
            made.add("main", "by hand", {".gitattributes": Stored(_ATTRIBUTES, False), **stored})
        return made

    def fail(self, call: str, how: str | int, times: int = 1) -> None:
        """Makes the next calls of a name fail."""
        self.faults.append(Fault(call, how, times))

    def count(self, call: str) -> int:
        """How often a call was made."""
        return [name for name, _ in self.calls].count(call)

    def next_fault(self, call: str) -> str | int | None:
        """Takes one failure of a call from those that are still to come."""
        for fault in self.faults:
            if fault.call == call and fault.times:
                fault.times -= 1
                return fault.how
        return None

    # What follows answers one call each: (what the path says, request) -> JSON, or bytes with headers.

    def whoami(self, _: dict[str, str], request: "Request") -> dict:
        name, role = request.account()
        return {
            "type": "user", "name": name, "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
        }  # fmt: skip

    def create_repo(self, _: dict[str, str], request: "Request") -> dict:
        name, _ = request.account()
        asked = request.json()
        repo = f"{asked.get('organization') or name}/{asked['name']}"
        request.may_write(repo)
        if repo in self.repositories:
            raise RefusedError(409, "You already created this model repo")
        self.repository(repo, private=asked.get("visibility") == "private")
        return {"url": f"{self.url}/{repo}", "name": repo, "id": repo}

    def info(self, match: dict[str, str], request: "Request") -> dict:
        repo = self._seen(match["repo"], request)
        revision = match.get("revision", "main")
        commit = repo.find(revision)
        siblings = [{"rfilename": name} for name in repo.commits[commit].files]
        facts = {"id": match["repo"], "modelId": match["repo"], "private": repo.private, "sha": commit}
        return {**facts, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}

    def refs(self, match: dict[str, str], request: "Request") -> dict:
        repo = self._seen(match["repo"], request)

        def listed(kind: str, names: dict[str, str]) -> list[dict]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in names.items()]

        return {"branches": listed("heads", repo.heads), "tags": listed("tags", repo.tags), "converts": []}

    def tree(self, match: dict[str, str], request: "Request") -> list[dict]:
        repo = self._seen(match["repo"], request)
        start = f"{match['folder']}/" if "folder" in match else ""
        files = repo.commits[repo.find(match["revision"])].files
        files = {name: file for name, file in files.items() if name.startswith(start)}
        if start and not files:
            raise RefusedError(404, f"{match['folder']} does not exist", "EntryNotFound")
        folders = {name.rpartition("/")[0] for name in files if "/" in name.removeprefix(start)}
        listed = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
        for name, file in files.items():
            if "/" in name.removeprefix(start) and request.query["recursive"] == ["false"]:
                continue
            entry = {"type": "file", "path": name, "oid": file.blob_id, "size": len(file.content)}
            if file.large:
                entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": 130}
            listed.append(entry)
        return listed

    def branch(self, match: dict[str, str], request: "Request") -> dict:
        request.may_write(match["repo"])
        repo = self._seen(match["repo"], request)
        if match["revision"] in repo.heads:
            raise RefusedError(409, "Reference already exists")
        repo.heads[match["revision"]] = repo.find(request.json().get("startingPoint", "main"))
        return {}

    def validate(self, _: dict[str, str], request: "Request") -> dict:
        block = _CARD_BLOCK.match(request.json()["content"])
        if block is None:
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]}
        licence = (yaml.safe_load(block[1]) or {}).get("license", "mit")
        if licence != licence.lower():
            message = f'"license" must be one of [apache-2.0, mit, ...], not {licence}'
            raise RefusedError(400, message, body={"errors": [{"message": message}], "warnings": []})
        return {"errors": [], "warnings": []}

    def preupload(self, match: dict[str, str], request: "Request") -> dict:
        request.may_write(match["repo"], pull_request="create_pr" in request.query)
        repo = self._seen(match["repo"], request)
        there = repo.commits[repo.find(match["revision"])].files
        asked = request.json()
        ignored = asked["gitIgnore"] if "gitIgnore" in asked else _text(there.get(".gitignore"))
        answers = []
        for file in asked["files"]:
            stored = there.get(file["path"])
            large = self._large(file["path"], file["size"], base64.b64decode(file["sample"]))
            known = None if stored is None else stored.sha256 if stored.large else stored.blob_id
            answers.append({
                "path": file["path"], "uploadMode": "lfs" if large else "regular", "oid": known,
                "shouldIgnore": any(fnmatchcase(file["path"], line) for line in ignored.split()),
            })  # fmt: skip
        return {"files": answers}

    def lfs_batch(self, match: dict[str, str], request: "Request") -> dict:
        request.may_write(match["repo"])
        repo = self._seen(match["repo"], request)
        objects = []
        for wanted in request.json()["objects"]:
            answer: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in repo.large:
                answer["actions"] = {
                    "upload": self._where_to(match["repo"], wanted),
                    "verify": {"href": f"{self.url}/lfs/{match['repo']}/verify"},
                }
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, match: dict[str, str], request: "Request") -> dict:
        self._keep(match["repo"], match["oid"], request.body)
        return {}

    def lfs_part(self, match: dict[str, str], request: "Request") -> tuple[bytes, dict[str, str]]:
        self.parts[match["oid"], int(match["part"])] = request.body
        return b"", {"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'}

    def lfs_complete(self, match: dict[str, str], request: "Request") -> dict:
        parts = [self.parts[match["oid"], part["partNumber"]] for part in request.json()["parts"]]
        self._keep(match["repo"], match["oid"], b"".join(parts))
        return {}

    def lfs_verify(self, match: dict[str, str], request: "Request") -> dict:
        asked = request.json()
        if len(self.repositories[match["repo"]].large.get(asked["oid"], b"")) != asked["size"]:
            raise RefusedError(422, "Uploaded file size does not match")
        return {}

    def commit(self, match: dict[str, str], request: "Request") -> dict:
        pull_request = "create_pr" in request.query
        request.may_write(match["repo"], pull_request)
        repo = self._seen(match["repo"], request)
        head = repo.find(match["revision"])
        if match["revision"] not in repo.heads:
            raise RefusedError(400, "Commits go to branches")
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", head) != head and not pull_request:
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head].files)
        for line in lines[1:]:
            self._apply(repo, files, line["key"], line["value"])
        branch = f"refs/pr/{len(repo.pull_requests) + 1}" if pull_request else match["revision"]
        made = repo.add(branch, header["summary"], files, parent=head)
        page = f"{self.url}/{match['repo']}"
        answer = {"success": True, "commitOid": made, "commitUrl": f"{page}/commit/{made}", "hookOutput": ""}
        return {
            **answer,
            "pullRequestUrl": f"{page}/discussions/{branch.rpartition('/')[2]}" if pull_request else None,
        }

    def resolve(self, match: dict[str, str], request: "Request") -> tuple[bytes, dict[str, str]]:
        repo = self._seen(match["repo"], request)
        commit = repo.find(match["revision"])
        file = repo.commits[commit].files.get(match["path"])
        if file is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.sha256 if file.large else file.blob_id}"'}
        return file.content, headers

    def unknown(self, _: dict[str, str], request: "Request") -> dict:
        raise RefusedError(404, "unknown call")

    def _seen(self, name: str, request: "Request") -> Repository:
        repo = self.repositories.get(name)
        if repo is None or (repo.private and (not request.token or request.account()[0] != _owner(name))):
            raise RefusedError(404 if request.token else 401, "Repository not found", "RepoNotFound")
        return repo

    def _large(self, path: str, size: int, sample: bytes) -> bool:
        return size > 0 and (size >= self.large_from or path.endswith(".safetensors") or b"\0" in sample)

    def _where_to(self, repo: str, wanted: dict) -> dict:
        target = f"{self.url}/lfs/{repo}/{wanted['oid']}"
        if self.part_size is None or wanted["size"] <= self.part_size:
            return {"href": target}
        parts = range(1, -(-wanted["size"] // self.part_size) + 1)
        header = {"chunk_size": str(self.part_size), **{str(part): f"{target}/{part}" for part in parts}}
        return {"href": f"{target}/complete", "header": header}

    def _keep(self, repo: str, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise RefusedError(400, "sha256 does not match")
        self.repositories[repo].large[oid] = content

    def _apply(self, repo: Repository, files: dict[str, Stored], key: str, value: dict) -> None:
        path = value["path"]
        if key == "file":
            content = base64.b64decode(value["content"])
            if self._large(path, len(content), content[:512]):
                raise RefusedError(400, f"{path} must be sent by LFS")
            files[path] = Stored(content, False)
        elif key == "lfsFile":
            content = repo.large.get(value["oid"])
            if content is None or len(content) != value["size"]:
                raise RefusedError(400, f"{path}: LFS object {value['oid']} is not there")
            files[path] = Stored(content, True)
        elif key == "deletedFile" and path in files:
            del files[path]
        else:
            raise RefusedError(404, f"{key} {path}: a file with this name doesn't exist", "EntryNotFound")


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_ROUTES: tuple[tuple[str, str, Callable], ...] = (
    ("GET", r"/api/whoami-v2", LoopbackHub.whoami),
    ("POST", r"/api/repos/create", LoopbackHub.create_repo),
    ("POST", r"/api/validate-yaml", LoopbackHub.validate),
    ("GET", rf"/api/models/{_REPO}", LoopbackHub.info),
    ("GET", rf"/api/models/{_REPO}/revision/(?P<revision>[^/]+)", LoopbackHub.info),
    ("GET", rf"/api/models/{_REPO}/refs", LoopbackHub.refs),
    ("GET", rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", LoopbackHub.tree),
    ("POST", rf"/api/models/{_REPO}/branch/(?P<revision>[^/]+)", LoopbackHub.branch),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)", LoopbackHub.preupload),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<revision>[^/]+)", LoopbackHub.commit),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", LoopbackHub.lfs_batch),
    ("POST", rf"/lfs/{_REPO}/verify", LoopbackHub.lfs_verify),
    ("POST", rf"/lfs/{_REPO}/(?P<oid>\w+)/complete", LoopbackHub.lfs_complete),
    ("PUT", rf"/lfs/{_REPO}/(?P<oid>\w+)/(?P<part>\d+)", LoopbackHub.lfs_part),
    ("PUT", rf"/lfs/{_REPO}/(?P<oid>\w+)", LoopbackHub.lfs_put),
    ("GET", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", LoopbackHub.resolve),
)


@dataclass(frozen=True)
class Request:
    """What arrived."""

    token: str | None
    query: dict[str, list[str]]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    def account(self) -> tuple[str, str]:
        """Name and role of the token."""
        if self.token not in _ACCOUNTS:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return _ACCOUNTS[self.token]

    def may_write(self, repo: str, pull_request: bool = False) -> None:
        name, role = self.account()
        if role != "write" or (name != _owner(repo) and not pull_request):
            raise RefusedError(403, "Forbidden: you have no right to write here")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two small writes, which would wait for each other
    server_hub: LoopbackHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _answer(self) -> None:
        hub, parts = self.server_hub, urlsplit(self.path)
        call, match = _route("GET" if self.command == "HEAD" else self.command, parts.path)
        hub.calls.append((call.__name__, self.command))
        fault = hub.next_fault(call.__name__)
        if fault == "drop":
            self._drop(half=True)
            return
        body = self._body()
        if isinstance(fault, int):
            self._send(fault, json.dumps({"error": "as told"}).encode())
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        request = Request(token, parse_qs(parts.query), body)
        try:
            if token:
                request.account()
            with hub.lock:
                answer = call(hub, match, request)
        except RefusedError as error:
            headers = {"X-Error-Message": error.message, **({"X-Error-Code": error.code} if error.code else {})}
            self._send(error.status, json.dumps(error.body).encode(), headers)
            return
        if fault == "late":
            self._drop(half=False)
            return
        if fault == "gateway":
            self._send(504, b"")
            return
        content, headers = answer if isinstance(answer, tuple) else (json.dumps(answer).encode(), {})
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part is None:
            self._send(200, content, headers)
            return
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._send(206, content[first : last + 1], headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        blocks = []
        while size := int(self.rfile.readline(), 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json" if content[:1] in b"{[" else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drop(self, half: bool) -> None:
        if half:
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
        self.close_connection = True
        self.connection.close()


def _route(method: str, path: str) -> tuple[Callable, dict[str, str]]:
    """The call that a path names, and what it says of it; data sets are repositories like models."""
    path = re.sub("^(/api)?/datasets/", lambda match: "/api/models/" if match[1] else "/", path)
    for wanted, pattern, call in _ROUTES:
        if wanted == method and (match := re.fullmatch(pattern, path)):
            return call, {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
    return LoopbackHub.unknown, {}


def _owner(repo: str) -> str:
    return repo.partition("/")[0]


def git_hash(content: bytes) -> str:
    """What `git hash-object` says."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _text(file: Stored | None) -> str:
    return "" if file is None else file.content.decode()
