"""What our HTTP API says, as types, and the client that speaks to it.

`schemas` is shared with `web`, which writes what `client` reads. Finding the server and its token is left to the
caller.
"""
