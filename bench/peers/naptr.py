"""NSD, Knot and PowerDNS: DNS servers with a NAPTR zone of the same records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.dataset import naptr as record_of
from bench.dataset import oid
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


def below_zone(number: int) -> str:
    """The name of an OID record relative to the zone, as the OID resolution system asks for it."""
    return ".".join(["ors-dummy", *reversed(oid(number).split("."))])


def write_zone(folder: Path, count: int) -> Path:
    """The zone file: SOA, NS and one NAPTR a record. Returns the file of names to ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "zone").open("w") as out:
        out.write(f"$ORIGIN {ZONE}.\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n")
        out.write("@ IN NS ns\nns IN A 127.0.0.1\n")
        for number in range(count):
            out.write(f"{below_zone(number)} IN NAPTR {record_of(number)}\n")
    names = folder / "names.txt"
    with names.open("w") as out:
        out.writelines(f"{below_zone(number)}.{ZONE}\n" for number in range(count))
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
