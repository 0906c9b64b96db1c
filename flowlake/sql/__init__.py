"""SQL that analysts find in the DuckDB file."""
