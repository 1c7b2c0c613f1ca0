"""The HTTP client that every service is spoken to with. With httpx it costs 200 ms: nothing imports it at a start."""

import http.cookiejar

import httpx

_IDLE_S = 2.0  # a connection the provider closes under a submission leaves that one unsure; so do not keep any for long


def open_client() -> httpx.AsyncClient:
    """The one client to share; an async context manager.

    It takes neither proxy nor netrc from the environment, follows no redirect, keeps no cookie.
    """
    client = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=httpx.Limits(keepalive_expiry=_IDLE_S))
    client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return client
