"""Where data live: paths, atomic Parquet commits, the DuckDB catalog and retention."""
