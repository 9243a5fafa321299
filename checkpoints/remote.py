"""`checkpoint.source` beyond this machine: `hf:owner/name[/path][@revision]` of the Hugging Face hub, or an address.

What comes is kept in the cache like a catalogued checkpoint and pinned by sha256 in the user's lock at its first fetch.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from checkpoints import CheckpointError
from checkpoints.catalogue import Entry, Source
from checkpoints.download import IntegrityError, Progress, Unavailable, require_reachable
from checkpoints.fetch import cached, fetch, verify
from checkpoints.layouts.reading import by_step

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<path>[^@]+?))?/?(?:@(?P<revision>[\w./-]+))?")
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".pkl", ".ckpt", ".nemo", ".tar", ".pyt", ".onnx")
_NO_WEIGHTS = ("do_*", "D_*", "*discriminator*", "*optimizer*", "*scheduler*", "training_args.bin", "flax_*", "tf_*",
               "rng_state*", "*.onnx.json")  # fmt: skip
_BESIDE = ("*.json", "*.yaml", "*.yml", "stats.*", "scale_stats.npy", "vocab.txt", "phonemes.txt", "speaker*.pth",
           "speaker_map.csv")  # fmt: skip
# What is asked for where a server answers for files alone, and beside a file that has an address.
_USUAL = ("config.json", "config.yml", "config.yaml", "hyperparams.yaml", "preprocessor_config.json",
          "tokenizer_config.json", "vocab.json", "stats.h5", "stats.npy", "scale_stats.npy")  # fmt: skip
_USUAL_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "generator.ckpt", "bigvgan_generator.pt", "generator.pth",
                  "model_file.pth", "model.pth", "g_02500000")  # fmt: skip
_SECONDS = 30.0


def is_remote(source: str) -> bool:
    return source.startswith(("hf:", "http://", "https://"))


def fetched(source: str, progress: Progress) -> Path:
    """The folder or the file in the cache that a source brings, fetched unless it is here already.

    Raises Unavailable where it cannot be reached, CheckpointError where it is not what can be fetched, IntegrityError
    where it is not what came first.
    """
    name = f"{_plain(source)[:60]}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    here = cached(_entry(name, source, Source()))
    if here is None:
        found = _from_hub(source) if source.startswith("hf:") else _from_address(source)
        entry = _entry(name, source, found)
        folder = fetch(entry, progress)
    else:
        entry, folder = _entry(name, source, Source()), here
    problems = verify(entry)
    if problems:
        raise IntegrityError("; ".join(problems))
    named = folder / _last(_named(source))
    return named if named.is_file() else folder


def _named(source: str) -> str:
    """The path within a model, or that of an address."""
    match = _HUB.fullmatch(source)
    if source.startswith("hf:"):
        return (match["path"] or "") if match else ""
    return urllib.parse.unquote(urllib.parse.urlsplit(source).path)


def _entry(name: str, source: str, found: Source) -> Entry:
    return Entry(name, "", "not stated", source, (found,), is_own=True)


def _plain(source: str) -> str:
    address = urllib.parse.urlsplit(source)
    text = source.removeprefix("hf:") if source.startswith("hf:") else f"{address.hostname}{address.path}"
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


# ---------------------------------------------------------------------------------------------------------- the hub


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, as huggingface_hub reads it."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _from_hub(source: str) -> Source:
    match = _HUB.fullmatch(source)
    if match is None or ".." in source:
        raise CheckpointError(f"{source} is no name of the hub: hf:owner/name, hf:owner/name/folder, …@revision")
    repo, path, revision = match["repo"], match["path"] or "", match["revision"] or "main"
    require_reachable(endpoint())
    listed = _listing(repo, revision)
    if listed is None:  # a mirror that answers for files alone
        listed = ([name for name in (*_USUAL, *_USUAL_WEIGHTS) if _is_there(_resolve(repo, revision, name))], revision)
        if not listed[0]:
            raise Unavailable(f"{source}: {endpoint()} has no such model, or it is not public")
    files, commit = listed
    return Source(http={_resolve(repo, commit, name): _last(name) for name in _chosen(source, files, path)})


def _resolve(repo: str, revision: str, name: str) -> str:
    return f"{endpoint()}/{repo}/resolve/{urllib.parse.quote(revision, safe='')}/{urllib.parse.quote(name)}"


def _listing(repo: str, revision: str) -> tuple[list[str], str] | None:
    """Names of a model's files and the commit that the revision is; None where the server does not say."""
    import httpx

    address = f"{endpoint()}/api/models/{repo}/revision/{urllib.parse.quote(revision, safe='')}"
    try:
        response = httpx.get(address, timeout=_SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        raise Unavailable(f"{address}: {error}") from error
    if response.status_code != 200:
        return None
    try:
        answer: Any = response.json()
        names = [str(one["rfilename"]) for one in answer["siblings"]]
        commit = str(answer.get("sha") or revision)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{address} does not answer as the hub does: {error}") from error
    return [name for name in names if ".." not in name and not name.startswith("/")], commit


def _is_there(address: str) -> bool:
    import httpx

    try:
        with httpx.stream("GET", address, timeout=_SECONDS, follow_redirects=True) as response:
            return response.status_code == 200
    except httpx.HTTPError:
        return False


def _chosen(source: str, files: Sequence[str], path: str) -> list[str]:
    """The files of one folder that make a checkpoint; with `path` the file that was named and what lies beside it."""
    is_file = path in files
    folder = str(PurePosixPath(path).parent) if is_file else path.strip("/")
    folder = "" if folder == "." else folder
    here = [name for name in files if (str(PurePosixPath(name).parent) if "/" in name else "") == folder]
    beside = [name for name in here if any(fnmatch.fnmatch(_last(name), pattern) for pattern in _BESIDE)]
    if is_file:
        return list(dict.fromkeys([path, *beside]))
    weights = [
        name
        for name in here
        if (_last(name).endswith(_WEIGHTS) or re.match(r"[gG]_\d+$", _last(name)))
        and not any(fnmatch.fnmatch(_last(name), pattern) for pattern in (*_NO_WEIGHTS, "speaker*.pth"))
    ]
    for suffix in (".safetensors", ".nemo"):  # of several forms of the same weights the safest
        weights = [name for name in weights if name.endswith(suffix)] or weights
    if not weights:
        raise CheckpointError(f"{source} holds no weights there; it has: {', '.join(files[:12]) or 'nothing'}")
    steps = sorted(weights, key=lambda name: by_step(_last(name)))
    alike = {re.sub(r"\d+", "", _last(name)) for name in weights}
    if len(alike) > 1:
        raise CheckpointError(
            f"{source}: which file holds the weights? found: {', '.join(weights[:8])}. Name it: "
            f"{source.partition('@')[0]}/FILE"
        )
    return [steps[-1], *beside]


def _last(name: str) -> str:
    return PurePosixPath(name).name


# ------------------------------------------------------------------------------------------------------ an address


def _from_address(source: str) -> Source:
    """A file, with what usually lies beside it, or a zip of a folder."""
    address = urllib.parse.urlsplit(source)
    name = PurePosixPath(urllib.parse.unquote(address.path)).name
    if not name or name.startswith("."):
        raise CheckpointError(f"{address.hostname}{address.path} names no file: give the address of the weights")
    if name.endswith(".zip"):
        return Source(archive=source)
    require_reachable(source)
    folder = address.path.rpartition("/")[0]
    beside = {}
    for other in (f"{name}.json", *_USUAL):
        sibling = urllib.parse.urlunsplit(address._replace(path=f"{folder}/{other}"))
        if other != name and _is_there(sibling):
            beside[sibling] = other
    return Source(http={source: name, **beside})
