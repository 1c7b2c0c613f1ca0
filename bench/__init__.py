"""The benchmarks. Each compares the receiver with something else, in the same run on the same machine."""
