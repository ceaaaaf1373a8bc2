"""Where the raw files come from, and whether they are what they should be.

The data sets and their files are listed in ``registry.toml``. The first source that has a data set is
used:

1. the data root (``COURSEWORK_DATA``), never written to;
2. the cache (``COURSEWORK_CACHE``, by default ``data/cache``), laid out like the data root;
3. an installed package, for the data sets that one carries;
4. the official download, into the cache;
5. a generated stand-in, announced on stdout, for the data sets that have one.

Every file has a pinned SHA-256 and is compared with it before it is read. A file with a wrong checksum
is an error that says what to do; no other source replaces it silently.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coursework import settings
from coursework.data import cache, download
from coursework.data.download import RemoteFile
from coursework.errors import ConfigError, DataError

Kind = Literal["data root", "cache", "package", "download", "stand-in"]

# ---------------------------------------------------------------------------------------- the registry


@dataclass(frozen=True)
class Package:
    """A package that carries data: its module, how to install it, its files.

    ``sha256`` is the digest of the data where its files differ between versions of the package.
    """

    module: str
    install: str
    files: tuple[RemoteFile, ...] = ()
    sha256: str = ""

    @property
    def folder(self) -> Path | None:
        """Where it is installed, or None; it is not imported."""
        spec = importlib.util.find_spec(self.module)
        found = spec.submodule_search_locations if spec else None
        return Path(next(iter(found))) if found else None


@dataclass(frozen=True)
class DatasetInfo:
    """The entry of a data set in ``registry.toml``."""

    name: str
    title: str
    licence: str
    homepage: str
    files: tuple[RemoteFile, ...] = ()
    alternatives: tuple[tuple[RemoteFile, ...], ...] = ()  # other forms of the same data
    package: Package | None = None
    standin: str = ""  # empty where nothing is generated

    @property
    def by_hand(self) -> str:
        """What to do where no download is possible."""
        ways = []
        if self.files:
            urls = {file.url.rsplit("/", 1)[0] + "/" for file in self.files}
            names = ", ".join(Path(file.path).name for file in self.files)
            folder = Path(self.files[0].path).parent.as_posix()
            ways.append(f"fetch {names} from {' '.join(sorted(urls))} into data/cache/{folder}/")
        if self.package is not None:
            ways.append(f"pip install {self.package.install}")
        return ", or ".join(ways)

    @property
    def file_sets(self) -> tuple[tuple[RemoteFile, ...], ...]:
        """The sets of files that are accepted, the official one last."""
        return (*self.alternatives, self.files) if self.files else self.alternatives


def _files(rows: list[tuple[str, int, str]], where: Mapping[str, Any]) -> tuple[RemoteFile, ...]:
    folder, url, mirrors = where.get("folder", ""), where.get("url"), where.get("mirrors", ())
    return tuple(
        RemoteFile(
            folder + name, url + name if url else "", sha256, size, tuple(m + name for m in mirrors)
        )
        for name, size, sha256 in rows
    )


def _read_registry(path: Path) -> dict[str, DatasetInfo]:
    registry = {}
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        text = {key: entry.get(key, "") for key in ("title", "licence", "homepage", "standin")}
        rows, package = entry.get("files", []), entry.get("package")
        if package is not None:
            own = _files(package.pop("files", rows), package)
            package.pop("folder", None)
            package = Package(**package, files=own)
        local = {"folder": entry.get("folder", "")}
        others = tuple(_files(other, local) for other in entry.get("alternatives", []))
        registry[name] = DatasetInfo(
            name, **text, files=_files(rows, entry), alternatives=others, package=package
        )
    return registry


REGISTRY = _read_registry(Path(__file__).with_name("registry.toml"))


def info(name: str) -> DatasetInfo:
    """The registry's entry of a data set."""
    try:
        return REGISTRY[name]
    except KeyError:
        raise ConfigError(
            f"There is no data set {name!r}; choose one of {', '.join(REGISTRY)}."
        ) from None


@dataclass(frozen=True)
class Source:
    """Where the data of a loader come from; stored with every result."""

    dataset: str
    kind: Kind
    sha256: str  # of the file, of the list of checksums of several files, or of generated content
    files: tuple[Path, ...]  # none for a stand-in
    licence: str

    @property
    def is_standin(self) -> bool:
        """True where the data are generated and results do not count."""
        return self.kind == "stand-in"

    @property
    def label(self) -> str:
        """A few words for tables and captions."""
        return "STAND-IN (generated)" if self.is_standin else f"real ({self.kind})"

    def as_record(self) -> dict[str, str | bool]:
        """The part that is stored with a result."""
        name, standin = self.dataset, self.is_standin
        return {"name": name, "source": self.label, "sha256": self.sha256, "standin": standin}


# ------------------------------------------------------------------------------- places and checksums


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(files: Sequence[RemoteFile]) -> str:
    """Checksum of a set of files: its only one, or that of the sorted list ``checksum  path``."""
    if len(files) == 1:
        return files[0].sha256
    lines = sorted(f"{file.sha256}  {file.path}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class FileCheck:
    """Result of comparing one file with its checksum; ``problem`` is None where they agree."""

    path: Path
    size: int
    problem: str | None

    @property
    def ok(self) -> bool:
        """True where the file is what it should be."""
        return self.problem is None


def check(path: Path, file: RemoteFile, *, again: bool = False) -> FileCheck:
    """Compare a file with its pinned size and SHA-256.

    The checksum of an unchanged file (same path, size and time) is computed once and noted in the
    cache; with ``again`` it is computed even where it is noted.
    """
    size = 0
    try:
        stat = path.stat()
        size = stat.st_size
        if size != file.size:
            return FileCheck(path, size, f"has {size:,} bytes instead of {file.size:,}")
        notes = settings.cache_dir() / "verified.json"
        mark = [size, stat.st_mtime_ns, file.sha256]
        if not again and cache.read_json(notes).get(str(path)) == mark:
            return FileCheck(path, size, None)
        found = sha256_of(path)
    except FileNotFoundError:
        return FileCheck(path, size, "is missing")
    except OSError as error:
        return FileCheck(path, size, f"cannot be read ({error.strerror or error})")
    if found != file.sha256:
        wrong = f"has the SHA-256 {found[:12]}... instead of {file.sha256[:12]}..."
        return FileCheck(path, size, wrong)
    cache.note(notes, str(path), mark)
    return FileCheck(path, size, None)


@dataclass(frozen=True)
class _Place:
    """A place that has at least one file of a data set, and the check of each file."""

    kind: Kind
    sha256: str
    files: Sequence[RemoteFile]
    checks: Sequence[FileCheck]


def _places(entry: DatasetInfo, again: bool = False) -> Iterator[_Place]:
    """The places that have files of a data set, complete or not, in the order of the search."""
    root, package = settings.data_root(), entry.package
    folders: list[tuple[Kind, Path]] = [("data root", root)] if root is not None else []
    folders.append(("cache", settings.cache_dir()))
    for kind, folder in folders:
        for files in entry.file_sets:
            if any((folder / file.path).exists() for file in files):
                checks = [check(folder / file.path, file, again=again) for file in files]
                yield _Place(kind, combined_sha256(files), files, checks)
    if package is not None and (home := package.folder) is not None:
        checks = [check(home / file.path, file, again=again) for file in package.files]
        digest = package.sha256 or combined_sha256(entry.files or package.files)
        yield _Place("package", digest, package.files, checks)


# -------------------------------------------------------------------------------- the public functions

_announced: set[str] = set()  # data sets whose stand-in this process uses


def find(name: str, *, real: bool = False) -> Source:
    """The first source that has a data set, its files verified.

    Args:
        name: Name in :data:`REGISTRY`.
        real: Raise an error in place of giving a stand-in.

    Raises:
        DataError: If a file is not what it should be, the cache cannot be written, or neither the data
            nor a stand-in are available.
    """
    entry = info(name)
    damaged = None
    for place in _places(entry):
        bad = [i for i, result in enumerate(place.checks) if not result.ok]
        if not bad:
            paths = tuple(result.path for result in place.checks)
            return Source(name, place.kind, place.sha256, paths, entry.licence)
        problem = f"{place.checks[bad[0]].path} {place.checks[bad[0]].problem}"
        if place.kind == "data root":
            official = place.files[bad[0]].url or entry.homepage
            raise DataError(
                f"{problem}; put the official file there ({official}), or unset COURSEWORK_DATA."
            )
        if place.kind == "package" and entry.package is not None:
            raise DataError(
                f"{problem}; run: pip install --force-reinstall {entry.package.install}"
            )
        damaged = damaged or next((c for c in place.checks if c.path.exists() and not c.ok), None)
    reason, first = "is not available", ""
    if entry.files and settings.offline():
        reason, first = f"{reason} and COURSEWORK_OFFLINE forbids the download", "unset it, or "
    elif entry.files and (real or name not in _announced):
        try:
            return _downloaded(entry)
        except download.Unreachable as error:
            reason, first = f"cannot be downloaded ({error})", "try again later, or "
    if damaged is not None:
        raise DataError(
            f"{damaged.path} {damaged.problem}, and {name} {reason}; delete this file, or {entry.by_hand}."
        )
    if real or not entry.standin:
        raise DataError(f"{name} {reason}; {first}{entry.by_hand}.")
    return _standin(entry, reason)


def fetch(name: str) -> Source:
    """The same, but only real data: what is missing is downloaded, and a failure is an error."""
    return find(name, real=True)


def _downloaded(entry: DatasetInfo) -> Source:
    """Get what is missing of a data set into the cache."""
    paths = [settings.cache_dir() / file.path for file in entry.files]
    with cache.lock(f"download-{entry.name}"):
        for path, file in zip(paths, entry.files, strict=True):
            if not check(path, file).ok:  # another process may just have fetched it
                download.fetch(file, entry.name)
                check(path, file)
    digest = combined_sha256(entry.files)
    return Source(entry.name, "download", digest, tuple(paths), entry.licence)


def _standin(entry: DatasetInfo, reason: str) -> Source:
    from coursework.data import standins

    if entry.name not in _announced:
        _announced.add(entry.name)
        print(
            f"*** STAND-IN DATA *** {entry.name} {reason}. Instead: {entry.standin}. Results on them do "
            f"not count. For the real data: coursework data fetch {entry.name}",
            flush=True,
        )
    digest = standins.fingerprint(entry.name)
    return Source(entry.name, "stand-in", digest, (), "MIT (generated by this project)")


@dataclass(frozen=True)
class Status:
    """The source of a data set that is in use, and the state of its files."""

    entry: DatasetInfo
    source: str  # "real (...)", "STAND-IN (generated)" or "missing"
    checks: Sequence[FileCheck]  # of the official files, each missing, where there is no file

    @property
    def ok(self) -> bool | None:
        """Whether all files are what they should be; None where there is no file of it."""
        real = self.source.startswith("real")
        return all(result.ok for result in self.checks) if real else None

    @property
    def problems(self) -> list[str]:
        """What is missing or wrong, file by file."""
        return [f"{result.path.name} {result.problem}" for result in self.checks if not result.ok]


def status(name: str, *, again: bool = False) -> Status:
    """The source of a data set; nothing is downloaded or generated.

    With ``again`` checksums are computed anew where they are known already.
    """
    entry = info(name)
    for place in _places(entry, again):
        return Status(entry, f"real ({place.kind})", place.checks)
    files, folder = entry.files, settings.cache_dir()
    checks = [check(folder / file.path, file) for file in files]
    if not files and entry.package is not None:
        problem = f"is not installed; run: pip install {entry.package.install}"
        checks = [FileCheck(Path(entry.package.module), 0, problem)]
    return Status(entry, "STAND-IN (generated)" if entry.standin else "missing", checks)
