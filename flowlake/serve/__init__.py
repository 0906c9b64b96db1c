"""`flowlake serve`: the rendered pages and a read-only HTTP API over what the lake has published."""
