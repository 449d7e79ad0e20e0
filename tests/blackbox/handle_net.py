"""A Handle.Net server of the distribution in HSJ, made and run for a test on free ports."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.keys import encode_private_key, encode_public_key
from protocol.keys.files import seal_key_file
from protocol.values.hs_site import Interface, Server, Site, address_octets, encode_site
from tests.blackbox.java_client import HSJ, JavaClient
from tests.blackbox.target import HANDLE_NET, Target

SECRET = "sesame86"
PREFIX = "86.998"
BOOT = Path(__file__).parent / "java" / "Boot.java"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class HandleNetServer:
    """The server, home to 86.998, its administrators 300 and 301 as ours have them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "server"
        self.folder.mkdir()
        port, web = free_port(), free_port()
        key, admin = (generate_private_key(65537, 2048) for _ in range(2))
        public = encode_public_key(key.public_key())
        interfaces = tuple(
            Interface(3, kind, number) for kind, number in ((1, port), (0, port), (2, web))
        )
        site = Site((Server(1, address_octets("127.0.0.1"), public, interfaces),), serial=1)
        write = {
            "privkey.bin": seal_key_file(encode_private_key(key), None),
            "pubkey.bin": public,
            "admpriv.bin": seal_key_file(encode_private_key(admin), None),
            "admpub.bin": encode_public_key(admin.public_key()),
            "siteinfo.bin": encode_site(site),
            "siteinfo.json": json.dumps(_site_json(public, port, web)).encode(),
            "config.dct": _config(port, web).encode(),
            "secret.txt": SECRET.encode(),
        }
        for name, data in write.items():
            (self.folder / name).write_bytes(data)
            (self.folder / name).chmod(0o600)
        self.site = site
        self.java = JavaClient(folder / "java", _site_json(public, port, web))
        self.java.compile(BOOT)
        done = self.java.run("Boot", self.folder, PREFIX, SECRET)
        assert done.returncode == 0, done.stdout + done.stderr
        self.target = Target(
            "127.0.0.1", port, web, web, SECRET.encode(), admin, PREFIX, HANDLE_NET
        )
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [
                *("java", "-Xmx160m", "-XX:TieredStopAtLevel=1"),
                *(f"-Duser.home={self.java.home}", "-cp", self.java.path),
                f"-Djava.library.path={HSJ}/lib/sigarlib",
                *("net.handle.server.Main", str(self.folder)),
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait(port)

    def _wait(self, port: int) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder.parent / "server.log").read_text()
                assert time.monotonic() < end, "the Handle.Net server did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def _site_json(public: bytes, port: int, web: int) -> dict:
    interfaces = [
        {"query": True, "admin": True, "protocol": protocol, "port": number}
        for protocol, number in (("TCP", port), ("UDP", port), ("HTTP", web))
    ]
    server = {
        "serverId": 1,
        "address": "127.0.0.1",
        "publicKey": {"format": "base64", "value": b64encode(public).decode()},
        "interfaces": interfaces,
    }
    return {
        "version": 1,
        "protocolVersion": "2.10",
        "serialNumber": 1,
        "primarySite": True,
        "multiPrimary": False,
        "attributes": [],
        "servers": [server],
    }


def _config(port: int, web: int) -> str:
    def face(name: str, number: int) -> str:
        return (
            f'  "{name}_config" = {{\n    "bind_address" = "127.0.0.1"\n'
            f'    "num_threads" = "4"\n    "bind_port" = "{number}"\n    "log_accesses" = "no"\n  }}\n'
        )

    admins = f'(\n      "300:0.NA/{PREFIX}"\n      "301:0.NA/{PREFIX}"\n    )'
    return (
        "{\n"
        + face("hdl_http", web)
        + face("hdl_udp", port)
        + face("hdl_tcp", port)
        + '  "server_type" = "server"\n'
        + '  "interfaces" = (\n    "hdl_udp"\n    "hdl_tcp"\n    "hdl_http"\n  )\n'
        + '  "server_config" = {\n'
        + f'    "server_admins" = {admins}\n    "replication_admins" = {admins}\n'
        + '    "max_session_time" = "86400000"\n    "this_server_id" = "1"\n'
        + '    "max_auth_time" = "60000"\n    "server_admin_full_access" = "yes"\n'
        + '    "case_sensitive" = "no"\n    "storage_type" = "bdbje"\n'
        + '    "allow_list_hdls" = "yes"\n'
        + f'    "auto_homed_prefixes" = (\n      "0.NA/{PREFIX}"\n      "0.NA/0.NA"\n    )\n  }}\n'
        + '  "allow_recursion" = "no"\n  "auto_update_root_info" = "no"\n}\n'
    )
