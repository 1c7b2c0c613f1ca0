"""Caddy and nginx as the files in `systemd/proxy` set them up, on free ports of loopback, with our own certificate.

Only names, ports and places are put in: what is tested is what is installed.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
from msgspec import Struct

from kit.live_service import PATIENCE_S, free_port, until

PROXY = Path(__file__).parents[2] / "systemd" / "proxy"
KINDS = ("caddy", "nginx")


class Front(Struct, frozen=True, eq=False):
    """A proxy that runs: where it answers, whom to trust, and the file that its log goes to."""

    kind: str
    https: int
    http: int
    trust: ssl.SSLContext
    log: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}"

    @property
    def plain(self) -> str:
        return f"http://localhost:{self.http}"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=False, verify=self.trust, timeout=PATIENCE_S)


def missing(kind: str) -> str | None:
    """Why it cannot be tried here, or None."""
    programs = [name for name in (kind, "openssl") if not shutil.which(name, path=_path())]
    return f"{' and '.join(programs)} not on this machine" if programs else None


def certificate(folder: Path, name: str = "localhost", *more: str) -> tuple[Path, Path]:
    """A certificate for `name` that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *more,
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def expired(folder: Path) -> tuple[Path, Path]:
    """A certificate for `localhost` that was good in January 2020, and its key."""
    cert, key = certificate(folder)
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = x\n[x]\ndatabase = {folder}/index.txt\n"
        f"serial = {folder}/serial\nnew_certs_dir = {folder}\n"
        "default_md = sha256\npolicy = p\nx509_extensions = e\n[p]\ncommonName = supplied\n"
        "[e]\nsubjectAltName = DNS:localhost\n"
    )
    asked = folder / "asked.csr"
    for command in (
        ("req", "-new", "-key", str(key), "-subj", "/CN=localhost", "-out", str(asked)),
        (
            *("ca", "-batch", "-config", str(folder / "ca.cnf"), "-selfsign", "-keyfile", str(key), "-rand_serial"),
            *("-in", str(asked), "-out", str(cert), "-notext"),
            *("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"),
        ),
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return cert, key


@contextlib.asynccontextmanager
async def fronted(kind: str, upstream: int, folder: Path, change: Callable[[str], str] = str) -> AsyncIterator[Front]:
    """The proxy, in front of the port `upstream`; `change` is made to its file first."""
    https, http, log = free_port(), free_port(), folder / f"{kind}.log"
    cert, key = certificate(folder)
    set_up = {"caddy": _caddy, "nginx": _nginx}[kind]
    command = set_up(folder, log, cert, key, https, http, upstream, change)
    environment = {"PATH": _path(), "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)

    async def up() -> bool:
        assert process.returncode is None, log.read_text()
        with contextlib.suppress(OSError):
            for port in (https, http):
                socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    try:
        await until(up)
        yield Front(kind, https, http, ssl.create_default_context(cafile=str(cert)), log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _caddy(
    folder: Path, log: Path, cert: Path, key: Path, https: int, http: int, upstream: int, change: Callable[[str], str]
) -> list[str]:
    text = change(_filled((PROXY / "Caddyfile").read_text(), upstream))
    own = f"{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\thttps_port {https}\n\thttp_port {http}\n"
    text, options = re.subn(r"^\{\n", own, text, count=1, flags=re.MULTILINE)
    text, sites = re.subn(r"^localhost \{\n", f"localhost {{\n\ttls {cert} {key}\n", text, flags=re.MULTILINE)
    assert (options, sites) == (1, 1)
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _nginx(
    folder: Path, log: Path, cert: Path, key: Path, https: int, http: int, upstream: int, change: Callable[[str], str]
) -> list[str]:
    text = change(_filled((PROXY / "nginx.conf").read_text(), upstream))
    text = re.sub(r"listen \[::\].*\n", "", text)
    for old, new in (
        ("listen 443 ", f"listen 127.0.0.1:{https} "),
        ("listen 80;", f"listen 127.0.0.1:{http};"),
        ("/etc/letsencrypt/live/localhost/fullchain.pem", str(cert)),
        ("/etc/letsencrypt/live/localhost/privkey.pem", str(key)),
        ("/var/log/nginx/error.log", str(log)),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {log};\n"
        f"events {{}}\nhttp {{ {temporary}\ninclude {folder}/site.conf; }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log)]


def _filled(text: str, upstream: int) -> str:
    assert "127.0.0.1:8000" in text
    return (
        text.replace("127.0.0.1:8000;", f"127.0.0.1:{upstream};")
        .replace("reverse_proxy 127.0.0.1:8000 ", f"reverse_proxy 127.0.0.1:{upstream} ")
        .replace("receiver.example.org", "localhost")
    )


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
