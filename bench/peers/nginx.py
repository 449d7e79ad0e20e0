"""nginx answering a constant: what HTTP over a socket costs when nothing is looked up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import Running, free_port, process, program, wait_for_tcp

CONFIG = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port}; default_type application/json; location / {{ return 200 '{body}'; }} }}
}}
"""


@contextmanager
def running(folder: Path, keys: Path, body: bytes, core: int | None) -> Iterator[Running]:
    """Nginx with a body as long as a record's. body: printable ASCII without quotes."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "log"
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, body=body.decode("ascii")))
    command = [program("nginx", "nginx-light"), "-c", str(config), "-p", str(folder)]
    with process(command, log, core) as child:
        wait_for_tcp(port, child, log)
        yield Running("nginx constant", "http", "127.0.0.1", port, keys, child.pid)
