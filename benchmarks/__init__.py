"""Speed and memory against named rivals: `make bench` writes docs/benchmarks.md."""
