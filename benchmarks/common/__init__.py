"""What the benchmarks share: results and their report, lines through measured sizes, memory of processes."""
