"""HTML reports rendered with Jinja2, self-contained in one file."""
