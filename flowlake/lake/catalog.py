"""The DuckDB file analysts open: a versioned catalog of views over the published files, built aside and swapped in.

A catalog holds no market data, only views with explicit file lists, macros and `lake_partitions`. It is never changed
after it was built, so a reader sees one frozen, consistent state for as long as its connection lives.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from flowlake.lake.errors import LakeError, LinkOccupied
from flowlake.lake.files import fsync_path, typed_os_errors
from flowlake.lake.manifest import FileEntry, FileMap, Manifest
from flowlake.lake.paths import CATALOG_NAME, TEMPORARY_PREFIX, LakePaths
from flowlake.schemas.base import Table
from flowlake.settings import LakeSettings, get_settings
from flowlake.sql.macros import MACROS

if TYPE_CHECKING:
    import duckdb
    from polars._typing import PolarsDataType

_SCALAR_TYPES: dict[PolarsDataType, str] = {
    pl.Boolean: "BOOLEAN",
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.UInt8: "UTINYINT",
    pl.UInt16: "USMALLINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.String: "VARCHAR",
    pl.Binary: "BLOB",
    pl.Date: "DATE",
    pl.Time: "TIME",
}


_PARTITION_COLUMNS = {
    "table_name": "Table.",
    "partition": "Session 'YYYY-MM-DD', snapshot 'YYYY-MM-DD-HH:MM' (New York), or 'all'.",
    "rows": "Rows of the partition.",
    "bytes": "Size of its Parquet file. [bytes]",
    "sha256": "Hash of its Parquet file.",
    "run_id": "Run that wrote it.",
}


def connect(data_dir: Path | str | None = None, settings: LakeSettings | None = None) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB connection with the newest published catalog attached read-only and in use.

    The connection sees that version for as long as it lives; connect again for a newer one. Tables and views may be
    created in `memory.main` or as TEMP. Memory and spill are bounded by `settings` (default: the process's), times
    are shown in UTC. Raises `LakeError` where `data_dir` (default: the configured one) holds no catalog.
    """
    import duckdb

    root = Path(data_dir if data_dir is not None else get_settings().data_dir)
    limits = settings or get_settings().lake
    link = LakePaths(root.absolute()).link
    if not link.exists():
        raise LakeError(f"there is no {link}: run `flowlake demo`, or point FLOWLAKE_DATA_DIR at an existing lake")
    connection = duckdb.connect(":memory:", config=_bounds(limits))
    try:
        connection.execute("SET TimeZone = 'UTC'")
        # The target, not the link: what is attached must stay what was looked up, even if the link moves now.
        connection.execute(f"ATTACH {_literal(str(link.resolve()))} AS flowlake (READ_ONLY)")
        connection.execute("USE flowlake")
    except BaseException:
        connection.close()
        raise
    return connection


def catalog_signature(tables: Mapping[str, Table], root: Path) -> str:
    """What a catalog's text depends on beside the files: declarations, macros and where the lake lies."""
    parts = [str(root), *(repr(table) for _, table in sorted(tables.items())), *map(repr, MACROS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def build_catalog(paths: LakePaths, version: int, published: FileMap, tables: Mapping[str, Table]) -> Path:
    """Build catalog `version` over `published`, durable and read-only; returns its file.

    It becomes visible to analysts only through `swap_link`. A leftover of the same version, from a run killed
    before its commit, is replaced.
    """
    import duckdb

    final = paths.catalog(version)
    building = paths.catalogs / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    with typed_os_errors(paths.catalogs):
        building.mkdir(parents=True)
        try:
            file = building / CATALOG_NAME
            with duckdb.connect(":memory:", config=_bounds(get_settings().lake)) as connection:
                # The oldest storage version every DuckDB since 1.0 can open.
                connection.execute(f"ATTACH {_literal(str(file))} AS building (STORAGE_VERSION 'v1.0.0')")
                connection.execute("USE building")
                connection.execute(_catalog_sql(paths.root, published, tables))
                connection.execute("USE memory")
                connection.execute("DETACH building")
            file.chmod(0o444)
            fsync_path(file)
            fsync_path(building)
            if final.exists():
                shutil.rmtree(final)
            building.rename(final)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        fsync_path(paths.catalogs)
    return final / CATALOG_NAME


def link_is_current(paths: LakePaths, manifest: Manifest) -> bool:
    """Whether `flowlake.duckdb` leads to the manifest's catalog, and that exists."""
    if manifest.catalog is None:
        return True
    target = paths.catalog(manifest.catalog.version) / CATALOG_NAME
    return paths.link.is_symlink() and paths.root / paths.link.readlink() == target and target.exists()


def swap_link(paths: LakePaths, version: int) -> None:
    """Point `flowlake.duckdb` at catalog `version` in one step."""
    if paths.link.exists() and not paths.link.is_symlink():
        raise LinkOccupied(
            f"{paths.link} is a plain file, not the lake's symlink: move it away, then publish again; "
            "flowlake never writes into a DuckDB file somebody made"
        )
    target = paths.catalog(version).relative_to(paths.root) / CATALOG_NAME
    temporary = paths.root / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    with typed_os_errors(paths.link):
        temporary.symlink_to(target)
        try:
            temporary.replace(paths.link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_path(paths.root)


def sql_type(dtype: PolarsDataType) -> str:
    """The DuckDB type that a polars type has in Parquet."""
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP" if dtype.time_zone is None else "TIMESTAMPTZ"
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"
    if isinstance(dtype, pl.Struct):
        return f"STRUCT({', '.join(f'{_name(f.name)} {sql_type(f.dtype)}' for f in dtype.fields)})"
    base = dtype.base_type()
    if base not in _SCALAR_TYPES:
        raise TypeError(f"no DuckDB type is known for the polars type {dtype}; add it to flowlake.lake.catalog")
    return _SCALAR_TYPES[base]


def _catalog_sql(root: Path, published: FileMap, tables: Mapping[str, Table]) -> str:
    statements = ["BEGIN", *_partition_list_sql(published)]
    for name, table in sorted(tables.items()):
        statements.append(_view_sql(root, table, published.get(name, {})))
        statements.extend(_comment_sql(table))
    for macro in MACROS:
        if set(macro.tables) <= set(tables):
            statements.append(f"CREATE MACRO {macro.name}({', '.join(macro.parameters)}) AS TABLE {macro.query}")
            statements.append(f"COMMENT ON MACRO TABLE {macro.name} IS {_literal(macro.description)}")
    return ";\n".join([*statements, "COMMIT"])


def _view_sql(root: Path, table: Table, partitions: Mapping[str, FileEntry]) -> str:
    view = f"CREATE VIEW {_name(table.name)} AS SELECT"
    if not partitions:
        return f"{view} {_typed_nulls(table)} WHERE false"
    columns = ", ".join(_name(column.name) for column in table.columns)
    files = ", ".join(_literal(str(root / partitions[partition].path)) for partition in sorted(partitions))
    if all(entry.fingerprint == table.fingerprint for entry in partitions.values()):
        return f"{view} {columns} FROM read_parquet([{files}], hive_partitioning = false)"
    # Files of an older declaration: the typed empty part gives them the columns they lack, and today's types.
    casts = ", ".join(f"CAST({_name(c.name)} AS {sql_type(c.dtype)}) AS {_name(c.name)}" for c in table.columns)
    return (
        f"{view} {casts} FROM (SELECT {_typed_nulls(table)} WHERE false UNION ALL BY NAME "
        f"SELECT * FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false))"
    )


def _typed_nulls(table: Table) -> str:
    return ", ".join(f"CAST(NULL AS {sql_type(c.dtype)}) AS {_name(c.name)}" for c in table.columns)


def _comment_sql(table: Table) -> list[str]:
    view = _name(table.name)
    about = f"{table.description} Known at: {table.known_at}. Key: {', '.join(table.key) or 'none'}."
    comments = [f"COMMENT ON VIEW {view} IS {_literal(about)}"]
    for column in table.columns:
        unit = f" [{column.unit}]" if column.unit else ""
        comments.append(f"COMMENT ON COLUMN {view}.{_name(column.name)} IS {_literal(column.description + unit)}")
    return comments


def _partition_list_sql(published: FileMap) -> list[str]:
    rows = [
        f"({_literal(table)}, {_literal(partition)}, {entry.rows}, {entry.bytes}, {_literal(entry.sha256)}, "
        f"{_literal(entry.run_id)})"
        for table, partitions in sorted(published.items())
        for partition, entry in sorted(partitions.items())
    ]
    statements = [
        'CREATE TABLE lake_partitions (table_name VARCHAR, "partition" VARCHAR, "rows" BIGINT, bytes BIGINT, '
        "sha256 VARCHAR, run_id VARCHAR)",
        "COMMENT ON TABLE lake_partitions IS 'What this catalog shows: one row per table and partition.'",
        *(
            f'COMMENT ON COLUMN lake_partitions."{name}" IS {_literal(text)}'
            for name, text in _PARTITION_COLUMNS.items()
        ),
    ]
    if rows:
        statements.append(f"INSERT INTO lake_partitions VALUES {', '.join(rows)}")
    return statements


def _bounds(limits: LakeSettings) -> dict[str, str | bool | int | float | list[str]]:
    # Unbounded, one query can spill until the disk is full (seen: 32 GB).
    return {
        "memory_limit": limits.duckdb_memory_limit,
        "max_temp_directory_size": limits.duckdb_temp_limit,
        "temp_directory": str(Path(tempfile.gettempdir()) / f"flowlake-duckdb-{os.getuid()}-{os.getpid()}"),
    }


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
