"""Command groups of `flowlake`, one module per area."""
