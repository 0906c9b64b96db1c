"""flowlake: statistically unusual options activity, found, explained and measured over a DuckDB/Parquet lakehouse."""

__version__ = "0.1.0"
