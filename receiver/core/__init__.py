"""What things are, and every decision: types, errors, the rules of `decide`, schedules, pacing, safe text.

Pure: no I/O, no clock, no database. Any wing may import it; `types` and `errors` need only the standard library and
msgspec.
"""
