"""Benchmarks and the demonstration; may import everything and is imported by nothing."""
