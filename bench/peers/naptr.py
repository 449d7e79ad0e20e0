"""NSD, Knot and PowerDNS: DNS servers with a NAPTR zone of the same records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dataset import Shape
from bench.peers import Running, free_port, process, program, wait_for_tcp

ZONE = "ors.example"

NSD = """\
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: {zone}
  zonefile: zone
"""

KNOT = """\
server:
  rundir: {folder}
  user: {user}
  pidfile: {folder}/knot.pid
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {folder}/db
control:
  listen: {folder}/knot.sock
template:
  - id: default
    storage: {folder}
    zonefile-load: whole
    journal-content: none
zone:
  - domain: {zone}
    file: zone
"""

POWERDNS = """\
launch=bind
bind-config={folder}/named.conf
local-address=127.0.0.1
local-port={port}
receiver-threads=1
distributor-threads=1
socket-dir={folder}
daemon=no
guardian=no
disable-syslog=yes
"""
_NAMED = 'zone "{zone}" {{ type master; file "{folder}/zone"; }};\n'


def owner(number: int) -> str:
    """The domain name of record `number`, the OID 2.999.number."""
    return f"ors-dummy.{number}.999.2.{ZONE}"


def record(number: int) -> str:
    """Its NAPTR record, as a zone file and a value of type NAPTR write it."""
    return f'100 10 "u" "ORS+UINF" "!^.*$!https://example.org/product/{number:010d}!" .'


def write_zone(folder: Path, shape: Shape) -> Path:
    """The zone file: SOA, NS and one NAPTR a record. Returns the file of names to ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "zone").open("w") as out:
        out.write(f"$ORIGIN {ZONE}.\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n")
        out.write("@ IN NS ns\nns IN A 127.0.0.1\n")
        for number in range(shape.count):
            out.write(f"ors-dummy.{number}.999.2 IN NAPTR {record(number)}\n")
    return write_names(folder, shape)


def write_names(folder: Path, shape: Shape) -> Path:
    """The file of names to ask for."""
    names = folder / "names.txt"
    with names.open("w") as out:
        step = max(1, shape.count // 200_000)
        out.writelines(f"{owner(number)}\n" for number in range(0, shape.count, step))
    return names


@contextmanager
def nsd(folder: Path, names: Path, core: int | None) -> Iterator[Running]:
    """NSD with one server process."""
    port, log = free_port(), folder / "nsd.log"
    config = folder / "nsd.conf"
    config.write_text(NSD.format(folder=folder, port=port, zone=ZONE))
    with process([program("nsd", "nsd"), "-d", "-c", str(config)], log, core) as child:
        wait_for_tcp(port, child, log)
        yield Running("NSD", "dns", "127.0.0.1", port, names, child.pid)


@contextmanager
def knot(folder: Path, names: Path, core: int | None) -> Iterator[Running]:
    """Knot with one UDP worker."""
    port, log = free_port(), folder / "knot.log"
    config = folder / "knot.conf"
    (folder / "db").mkdir(exist_ok=True)
    user = folder.owner()
    config.write_text(KNOT.format(folder=folder, port=port, zone=ZONE, user=user))
    with process([program("knotd", "knot"), "-c", str(config)], log, core) as child:
        wait_for_tcp(port, child, log)
        yield Running("Knot", "dns", "127.0.0.1", port, names, child.pid)


@contextmanager
def powerdns(folder: Path, names: Path, core: int | None) -> Iterator[Running]:
    """PowerDNS with its BIND backend, one receiver; its packet cache is on, as by default."""
    port, log = free_port(), folder / "pdns.log"
    own = folder / "pdns"
    own.mkdir(exist_ok=True)
    (folder / "named.conf").write_text(_NAMED.format(zone=ZONE, folder=folder))
    (own / "pdns.conf").write_text(POWERDNS.format(folder=folder, port=port))
    command = [program("pdns_server", "pdns-server pdns-backend-bind"), f"--config-dir={own}"]
    with process(command, log, core) as child:
        wait_for_tcp(port, child, log)
        yield Running("PowerDNS", "dns", "127.0.0.1", port, names, child.pid)
