"""The benchmarks: each a ratio against something run beside it, in the same run, on the same machine."""
