"""Command groups of `flowlake`, a module each."""
