"""Where the raw files come from, and whether they are what they should be.

The data sets and their files are listed in ``registry.toml``. The first source that has one is used:

1. the data root (``COURSEWORK_DATA``), never written to;
2. the cache (``COURSEWORK_CACHE``, by default ``data/cache``), laid out like the data root;
3. an installed package;
4. the official download, into the cache;
5. a generated stand-in, announced on stdout.

Every file is compared with its pinned SHA-256 before it is read. A file with a wrong checksum is an error
that says what to do; no other source replaces it silently.
"""

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


@dataclass(frozen=True)
class Package:
    """A package that carries data; ``sha256`` is of the data, where files differ between its versions."""

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
            folder + name, url + name if url else "", sha, size, tuple(m + name for m in mirrors)
        )
        for name, size, sha in rows
    )


def _read_registry(path: Path) -> dict[str, DatasetInfo]:
    registry = {}
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        text = {key: entry.get(key, "") for key in ("title", "licence", "homepage", "standin")}
        rows, local = entry.get("files", []), {"folder": entry.get("folder", "")}
        if package := entry.get("package"):
            own = _files(package.pop("files", rows), package)
            package.pop("folder", None)
            package = Package(**package, files=own)
        others = tuple(_files(other, local) for other in entry.get("alternatives", []))
        registry[name] = DatasetInfo(
            name, **text, files=_files(rows, entry), alternatives=others, package=package
        )
    return registry


REGISTRY = _read_registry(Path(__file__).with_name("registry.toml"))


def info(name: str) -> DatasetInfo:
    if name not in REGISTRY:
        raise ConfigError(f"There is no data set {name!r}; choose one of {', '.join(REGISTRY)}.")
    return REGISTRY[name]


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
        name, standin = self.dataset, self.is_standin
        return {"name": name, "source": self.label, "sha256": self.sha256, "standin": standin}


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
    url: str = ""  # of the official file


def check(path: Path, file: RemoteFile, *, again: bool = False) -> FileCheck:
    """Compare a file with its pinned size and SHA-256.

    The checksum of an unchanged file (path, size, time) is noted in the cache; ``again`` computes it anew.
    """
    size, problem, notes = 0, None, settings.cache_dir() / "verified.json"
    try:
        stat = path.stat()
        size, mark = stat.st_size, [stat.st_size, stat.st_mtime_ns, file.sha256]
        if size != file.size:
            problem = f"has {size:,} bytes instead of {file.size:,}"
        elif again or cache.read_json(notes).get(str(path)) != mark:
            if (found := sha256_of(path)) == file.sha256:
                cache.note(notes, str(path), mark)
            else:
                problem = f"has the SHA-256 {found[:12]}... instead of {file.sha256[:12]}..."
    except FileNotFoundError:
        problem = "is missing"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    return FileCheck(path, size, problem, file.url)


def _places(
    entry: DatasetInfo, again: bool = False
) -> Iterator[tuple[Source, tuple[FileCheck, ...]]]:
    """Places that have files of a data set, complete or not, in the order of the search."""
    folders: tuple[tuple[Kind, Path | None], ...]
    folders = (("data root", settings.data_root()), ("cache", settings.cache_dir()))
    places: list[tuple[Kind, Path, Sequence[RemoteFile], str]] = [
        (kind, folder, files, combined_sha256(files))
        for kind, folder in folders
        for files in entry.file_sets
        if folder is not None and any((folder / file.path).exists() for file in files)
    ]
    package = entry.package
    if package is not None and (home := package.folder) is not None:
        digest = package.sha256 or combined_sha256(entry.files or package.files)
        places.append(("package", home, package.files, digest))
    for kind, folder, files, digest in places:
        checks = tuple(check(folder / file.path, file, again=again) for file in files)
        paths = tuple(result.path for result in checks)
        yield Source(entry.name, kind, digest, paths, entry.licence), checks


_announced: set[str] = set()  # data sets whose stand-in this process uses


def find(name: str, *, real: bool = False) -> Source:
    """The first source that has a data set, its files verified; with ``real`` never a stand-in."""
    entry = info(name)
    damaged = None
    for source, checks in _places(entry):
        bad = [result for result in checks if result.problem]
        if not bad:
            return source
        problem = f"{bad[0].path} {bad[0].problem}"
        if source.kind == "data root":
            remedy = f"put the official file there ({bad[0].url or entry.homepage})"
            raise DataError(f"{problem}; {remedy}, or unset COURSEWORK_DATA.")
        if source.kind == "package" and entry.package is not None:
            remedy = f"pip install --force-reinstall {entry.package.install}"
            raise DataError(f"{problem}; run: {remedy}")
        damaged = damaged or next((result for result in bad if result.path.exists()), None)
    reason, first = "is not available", ""
    if entry.files and settings.offline():
        reason, first = f"{reason} and COURSEWORK_OFFLINE forbids the download", "unset it, or "
    elif entry.files and (real or name not in _announced):
        try:
            return _downloaded(entry)
        except download.Unreachable as error:
            reason, first = f"cannot be downloaded ({error})", "try again later, or "
    if damaged is not None:
        problem = f"{damaged.path} {damaged.problem}, and {name} {reason}"
        raise DataError(f"{problem}; delete this file, or {entry.by_hand}.")
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
            if check(path, file).problem:  # another process may just have fetched it
                download.fetch(file, entry.name)
                check(path, file)
    return Source(entry.name, "download", combined_sha256(entry.files), tuple(paths), entry.licence)


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
    def problems(self) -> list[str]:
        """What is missing or wrong, file by file."""
        return [f"{result.path.name} {result.problem}" for result in self.checks if result.problem]

    @property
    def ok(self) -> bool | None:
        """Whether all files are what they should be; None where there is no file of it."""
        return not self.problems if self.source.startswith("real") else None


def status(name: str, *, again: bool = False) -> Status:
    """The source of a data set, nothing downloaded or generated; ``again`` computes known checksums anew."""
    entry = info(name)
    for source, checks in _places(entry, again):
        return Status(entry, source.label, checks)
    missing = [check(settings.cache_dir() / file.path, file) for file in entry.files]
    if not missing and entry.package is not None:
        problem = f"is not installed; run: pip install {entry.package.install}"
        missing = [FileCheck(Path(entry.package.module), 0, problem)]
    return Status(entry, "STAND-IN (generated)" if entry.standin else "missing", missing)
