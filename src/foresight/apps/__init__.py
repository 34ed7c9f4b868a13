"""What people run: the command line, the demonstration, soak tests and benchmarks."""
