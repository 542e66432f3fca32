"""Benchmarks: `make bench`, or `python -m tests.benchmarks --help`. Each is a ratio to a limit or a peer."""
