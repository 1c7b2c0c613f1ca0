"""What the service says of itself: log lines without secrets, and counters for Prometheus.

What is logged and counted, and when, is left to the other wings; here is how it is written.
"""
