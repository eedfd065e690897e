"""The image engine measured: end to end, CPU, leanness, fidelity and memory. See docs/benchmarks.md."""
