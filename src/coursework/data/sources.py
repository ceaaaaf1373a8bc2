"""Where the raw files of ``registry.toml`` come from, and whether they are what they should be.

The first source is used: the data root (``COURSEWORK_DATA``), never written to; the cache, laid out like it;
an installed package; the official download, into the cache; a generated stand-in, announced on stdout. Each
file is compared with its SHA-256 before it is read. A wrong one is never used: in the cache it is fetched
again, elsewhere it is an error.
"""

import hashlib
import importlib.util
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coursework import settings
from coursework.data import cache, download, standins
from coursework.data.download import RemoteFile
from coursework.errors import ConfigError, DataError

Kind = Literal["data root", "cache", "package", "download", "generated", "stand-in"]
Files = tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Package:
    """A package that carries data."""

    module: str
    install: str
    files: Files

    @property
    def folder(self) -> Path | None:
        spec = importlib.util.find_spec(self.module)  # imports nothing
        return Path(next(iter(spec.submodule_search_locations or ()))) if spec else None


@dataclass(frozen=True)
class DatasetInfo:
    name: str
    title: str
    licence: str
    homepage: str
    files: Files = ()
    alternatives: tuple[Files, ...] = ()  # other forms of the same data
    package: Package | None = None
    standin: str = ""  # empty where nothing is generated

    @property
    def by_hand(self) -> str:
        """What to do where no download is possible."""
        ways = []
        if self.files:
            urls = " ".join(sorted({file.url.rpartition("/")[0] + "/" for file in self.files}))
            names = ", ".join(Path(file.path).name for file in self.files)
            folder = Path(self.files[0].path).parent.as_posix()
            ways.append(f"fetch {names} from {urls} into {settings.cache_dir() / folder}")
        if self.package is not None:
            ways.append(f"pip install {self.package.install}")
        return ", or ".join(ways)


def _files(rows: Any, folder: str, url: str = "", mirrors: Sequence[str] = ()) -> Files:
    return tuple(
        RemoteFile(folder + name, url and url + name, sha, size, tuple(m + name for m in mirrors))
        for name, size, sha in rows
    )


def _entry(name: str, given: dict[str, Any]) -> DatasetInfo:
    rows, folder = given.pop("files", ()), given.pop("folder", "")
    if package := given.pop("package", None):
        package["files"] = _files(package.get("files", rows), package.pop("folder", ""))
        given["package"] = Package(**package)
    files = _files(rows, folder, given.pop("url", ""), given.pop("mirrors", ()))
    others = tuple(_files(other, folder) for other in given.pop("alternatives", ()))
    return DatasetInfo(name, files=files, alternatives=others, **given)


_LISTED = tomllib.loads(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8"))
REGISTRY = {name: _entry(name, given) for name, given in _LISTED.items()}


def info(name: str) -> DatasetInfo:
    if name not in REGISTRY:
        raise ConfigError(f"There is no data set {name!r}; choose one of {', '.join(REGISTRY)}.")
    return REGISTRY[name]


@dataclass(frozen=True)
class Source:
    dataset: str
    kind: Kind
    sha256: str  # of the file, of the list of checksums of several files, or of generated content
    files: tuple[Path, ...]  # none for a stand-in
    licence: str

    @property
    def is_standin(self) -> bool:
        return self.kind == "stand-in"

    @property
    def label(self) -> str:
        made = {"generated": "generated", "stand-in": "STAND-IN (generated)"}
        return made.get(self.kind, f"real ({self.kind})")

    @property
    def origin(self) -> str:
        """The label for readers; it does not say in which place the files were found."""
        made = self.kind in ("stand-in", "generated")
        return self.label if made else f"original data ({self.dataset})"

    def as_record(self) -> dict[str, str | bool]:
        name, standin = self.dataset, self.is_standin
        return {"name": name, "source": self.label, "sha256": self.sha256, "standin": standin}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(files: Files) -> str:
    """Checksum of a set of files: its only one, or that of the sorted list ``checksum  path``."""
    text = "\n".join(sorted(f"{file.sha256}  {file.path}" for file in files))
    return files[0].sha256 if len(files) == 1 else hashlib.sha256(text.encode()).hexdigest()


class FileCheck(NamedTuple):
    path: Path
    size: int
    problem: str | None  # None where the file is the official one
    url: str = ""  # of the official file


def check(path: Path, file: RemoteFile, *, again: bool = False) -> FileCheck:
    """Compare a file with its size and SHA-256, which is noted in the cache; ``again`` computes it anew."""
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


def _places(entry: DatasetInfo, again: bool = False) -> Iterator[tuple[Source, list[FileCheck]]]:
    """Places that have files of a data set, complete or not, in the order of the search."""
    folders: dict[Kind, Path | None]
    folders = {"data root": settings.data_root(), "cache": settings.cache_dir()}
    places: list[tuple[Kind, Path, Files, str]] = [
        (kind, folder, files, combined_sha256(files))
        for kind, folder in folders.items()
        for files in (*entry.alternatives, entry.files)
        if folder is not None and any((folder / file.path).exists() for file in files)
    ]
    if (package := entry.package) and (home := package.folder):
        digest = combined_sha256(entry.files or package.files)
        places.append(("package", home, package.files, digest))
    for kind, folder, files, digest in places:
        checks = [check(folder / file.path, file, again=again) for file in files]
        paths = tuple(result.path for result in checks)
        yield Source(entry.name, kind, digest, paths, entry.licence), checks


_announced: set[str] = set()  # data sets whose stand-in this process uses


def find(name: str, *, real: bool = False) -> Source:
    """The first source that has a data set, its files verified; ``real`` makes a failed download an error."""
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
        if source.kind == "package" and (package := entry.package):
            raise DataError(f"{problem}; run: pip install --force-reinstall {package.install}")
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
    if name not in _announced:
        _announced.add(name)
        what = f"*** STAND-IN DATA *** {name} {reason}. Instead: {entry.standin}. Results on them"
        print(f"{what} do not count. For the real data: coursework data fetch {name}", flush=True)
    digest = standins.fingerprint(name)
    return Source(name, "stand-in", digest, (), "MIT (generated by this project)")


def _downloaded(entry: DatasetInfo) -> Source:
    """Get what is missing of a data set into the cache."""
    paths = [settings.cache_dir() / file.path for file in entry.files]
    with cache.lock(f"download-{entry.name}"):
        for path, file in zip(paths, entry.files, strict=True):
            if check(path, file).problem:  # another process may just have fetched it
                download.fetch(file, entry.name)
                check(path, file)
    return Source(entry.name, "download", combined_sha256(entry.files), tuple(paths), entry.licence)


class Status(NamedTuple):
    source: str  # "real (...)", "STAND-IN (generated)" or "missing"
    checks: Sequence[FileCheck]  # of the official files, each missing, where there is no file

    @property
    def problems(self) -> list[str]:
        return [f"{result.path.name} {result.problem}" for result in self.checks if result.problem]

    @property
    def ok(self) -> bool | None:
        """Whether all files are what they should be; None where there is no file of it."""
        return not self.problems if self.source.startswith("real") else None


def status(name: str, *, again: bool = False) -> Status:
    """The source of a data set, nothing downloaded or generated; ``again`` computes known checksums anew."""
    entry = info(name)
    if places := list(_places(entry, again)):
        whole = [p for p in places if not any(one.problem for one in p[1])]
        # a data root is used whatever is in it, else the first place that is whole
        source, checks = places[0] if places[0][0].kind == "data root" else [*whole, *places][0]
        return Status(source.label, checks)
    missing = [check(settings.cache_dir() / file.path, file) for file in entry.files]
    if not missing and entry.package is not None:
        problem = f"is not installed; run: pip install {entry.package.install}"
        missing = [FileCheck(Path(entry.package.module), 0, problem)]
    return Status("STAND-IN (generated)" if entry.standin else "missing", missing)
