"""Benchmarks: ratios against named alternatives, one command each; `make bench` runs them all."""
