"""The HTTP client for all services. Importing httpx takes 200 ms, so nothing imports this module at a start."""

import http.cookiejar

import httpx

_IDLE_S = 2.0  # if the provider closes a connection under a submission, that is unsure; so keep none for long


def open_client() -> httpx.AsyncClient:
    """The client that all calls share; an async context manager.

    It ignores proxies and netrc of the environment, follows no redirects and keeps no cookies.
    """
    client = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=httpx.Limits(keepalive_expiry=_IDLE_S))
    client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return client
