"""Upkeep of the service's state: retention, backup and restore, and the checks of `receiver doctor`.

It leaves SQL to `store` and the archive's files to `pictures`; what a person sees on a terminal is in `cli`.
"""
