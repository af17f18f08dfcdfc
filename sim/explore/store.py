"""Outcomes on disk, by the content of what they come from: a search that is repeated costs nothing.

The key is a hash of the model, the sizes of the configuration and the sources of everything between
them. Whoever changes the compiler gets new outcomes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path

from hw.config import AcceleratorConfig

from .evaluation import Outcome
from .fields import external_memory, sizes_of

__all__ = ["Store", "StoreError", "outcome_key", "source_hash"]

VERSION = 1
"""Of the file's tables."""
_ROOT = Path(__file__).parent.parent.parent
_SOURCES = ("compiler", "hw", "golden", "sim/cycles")
"""Folders whose files decide about an outcome, beside the evaluation itself."""
_FILES = ("traffic.py", "reconstruction.py", "explore/evaluation.py", "explore/fitting.py")
_PACKAGES = ("amaranth", "numpy", "onnx")


class StoreError(ValueError):
    """A file of outcomes that cannot be used; the text names the file and the rule."""


@cache
def source_hash() -> str:
    """Hash of the sources and the packages that decide about an outcome."""
    digest = hashlib.sha256()
    paths = [path for folder in _SOURCES for path in (_ROOT / folder).rglob("*.py")]
    paths += [_ROOT / "sim" / name for name in _FILES]
    for path in sorted(paths):
        digest.update(path.relative_to(_ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    for package in _PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    return digest.hexdigest()[:16]


def outcome_key(
    model_hash: str, config: AcceleratorConfig, fit: Collection[str] = (), *, batch: int = 1
) -> str:
    """Key of a model's outcome on a configuration, whatever that is called; depths that follow the
    model do not count, and the clock does only with an SDRAM, whose rules are in nanoseconds."""
    sizes = {name: value for name, value in sizes_of(config).items() if name not in fit}
    clock_mhz = config.clock_mhz if config.sdram else None
    memory = [external_memory(config), clock_mhz]
    text = json.dumps([model_hash, sizes, memory, sorted(fit), batch, source_hash()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Store:
    """The outcomes in one SQLite file. One process writes; what is written stays."""

    def __init__(self, path: Path) -> None:
        """Open or create a file; raises :class:`StoreError`."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path)
            # A finished outcome must outlive this process, not a loss of power.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.Error as error:
            raise StoreError(f"outcomes {path} must be a database: {error}") from error
        if tables == 0:
            with self._database:
                self._database.execute(
                    "CREATE TABLE outcomes (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)"
                )
                self._database.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise StoreError(
                f"outcomes {path} must be of version {VERSION}, not {version}: remove the file or "
                "choose another --output"
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def __len__(self) -> int:
        return self._database.execute("SELECT count(*) FROM outcomes").fetchone()[0]

    def get(self, key: str) -> Outcome | None:
        row = self._database.execute(
            "SELECT outcome FROM outcomes WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Outcome.from_plain(json.loads(row[0]))

    def put(self, outcomes: Mapping[str, Outcome] | Iterable[tuple[str, Outcome]]) -> None:
        """Write outcomes, all of them or none."""
        pairs = outcomes.items() if isinstance(outcomes, Mapping) else outcomes
        rows = [(key, json.dumps(outcome.to_plain())) for key, outcome in pairs]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?)", rows)
