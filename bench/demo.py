"""`biaoshi demo`: six real nodes, real products, resolved and verified through the hierarchy.

Everything is done with the commands a user has: each node is a `biaoshi serve` process of its
own in a folder under `.demo/`, and nothing is shared between them but sockets.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from bench import corpus, story
from bench.screen import console
from bench.tamper import tamper

CATALOGUE = Path(__file__).parent / "catalogue"
COMMAND = (sys.executable, "-m", "resolver.cli")
HOSTS = ("127.0.0.1", "::1")
MARK = "made-by-biaoshi-demo"

app = typer.Typer(
    help="Six nodes on this machine: enrol, register, resolve, verify, refuse.",
    rich_markup_mode=None,
    epilog="""\b
Examples:
  biaoshi demo
  biaoshi demo --once
  biaoshi demo --folder /tmp/demo --corpus-limit 0
\b
Exit codes: 0 every step did what it must; 1 one did not, and it is named.""",
)


class DemoFailed(Exception):
    """A step did not do what it must; the message says which and how."""


@dataclass
class Demo:
    """The nodes of one run and what happened to them."""

    folder: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def root_key(self) -> Path:
        """What a verifier trusts: the top-level node's public key."""
        return self.nodes["top"].folder / "keys" / "root_pub.pem"

    def did(self, what: str, result: str, since: float) -> None:
        """Print one line of progress and keep it for the table."""
        took = f"{time.monotonic() - since:.2f} s"
        self.rows.append((what, result, took))
        console.print(f"  [green]✓[/] {what}: {result} [dim]({took})[/]")


@dataclass
class Node:
    """One node: its folder, its ports and its process."""

    name: str
    folder: Path
    prefix: str | None
    irp: int
    http: int
    https: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def secure_url(self) -> str:
        return f"https://127.0.0.1:{self.https}"


def run(*arguments: str | Path, fail: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one `biaoshi` command; a failure raises with its last words."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if fail and done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise DemoFailed(f"biaoshi {' '.join(map(str, arguments))}: {' '.join(words)}")
    return done


def free_ports(count: int) -> list[int]:
    """Ports that are free on both loopback addresses, for TCP and for UDP."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind((HOSTS[0], 0))
            port = int(probe.getsockname()[1])
        if port not in found and all(_free(port, kind) for kind in ("tcp", "udp")):
            found.append(port)
    return found


def _free(port: int, kind: str) -> bool:
    type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    for family, host in ((socket.AF_INET, HOSTS[0]), (socket.AF_INET6, HOSTS[1])):
        try:
            with socket.socket(family, type_) as probe:
                probe.bind((host, port))
        except OSError:
            return False
    return True


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((HOSTS[1], 0))
    except OSError:
        return False
    return True


def make_node(
    demo: Demo, name: str, role: str, prefix: str | None, parent: Node | None = None
) -> Node:
    """`biaoshi init` for one node; its ports are chosen here so that others can be told."""
    irp, http, https = free_ports(3)
    node = Node(name, demo.folder / name, prefix, irp, http, https)
    hosts = [part for host in HOSTS[: 2 if has_ipv6() else 1] for part in ("--host", host)]
    named = ["--prefix", prefix] if prefix else []
    ports = ["--irp", str(irp), "--http", str(http), "--https", str(https)]
    above = ["--parent", parent.url] if parent else []
    trust = ["--root-key", str(demo.root_key)] if role in ("recursive", "enterprise") else []
    run("init", node.folder, "--role", role, *named, *hosts, *ports, *above, *trust)
    if role == "enterprise":  # verifies what it traces at others, from the top down
        settings = node.folder / "biaoshi.toml"
        told = settings.read_text(encoding="utf-8")
        top = json.dumps([demo.nodes["top"].url])
        settings.write_text(told.replace("\nroots = []", f"\nroots = {top}"), encoding="utf-8")
    demo.nodes[name] = node
    return node


def serve(node: Node) -> None:
    """Start the node's process and wait for its ready line."""
    log = (node.folder / "serve.log").open("a")
    node.process = subprocess.Popen(
        [*COMMAND, "serve", str(node.folder), "--readers", "1"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    assert node.process.stdout is not None  # noqa: S101 - PIPE was asked for
    line = node.process.stdout.readline()
    if not line or not json.loads(line).get("ready"):
        raise DemoFailed(f"{node.name} did not start; see {node.folder / 'serve.log'}")


def stop(demo: Demo) -> None:
    """SIGTERM to every node, and wait for each."""
    running = [node.process for node in demo.nodes.values() if node.process]
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()


def build(demo: Demo) -> None:
    """The tree: a top-level, a second-level, two enterprise nodes and a recursive one."""
    since = time.monotonic()
    top = make_node(demo, "top", "top", "88")
    second = make_node(demo, "second", "second", "88.118", top)
    make_node(demo, "steel", "enterprise", "88.118.8", second)
    make_node(demo, "equipment", "enterprise", "88.118.9", second)
    make_node(demo, "recursive", "recursive", None, top)
    demo.did("five nodes made", "keys, certificate, store and settings each", since)
    since = time.monotonic()
    with ThreadPoolExecutor(len(demo.nodes)) as pool:
        list(pool.map(serve, demo.nodes.values()))
    demo.did("five nodes started", "88, 88.118, 88.118.8, 88.118.9 and a recursive one", since)


def enrol(demo: Demo, child: str, parent: str) -> None:
    """The child applies, the parent's operator approves, the child learns that it is home."""
    since = time.monotonic()
    prefix = demo.nodes[child].prefix or ""
    run("prefix", "request", "--node", demo.nodes[child].folder)
    run("prefix", "approve", prefix, "--node", demo.nodes[parent].folder)
    run("prefix", "request", "--node", demo.nodes[child].folder, "--wait")
    demo.did(f"{prefix} enrolled with {demo.nodes[parent].prefix}", "delegation signed", since)


def register(demo: Demo, name: str, file: Path, *more: str | Path) -> None:
    """Bulk registration; the summary of the command is the result."""
    since = time.monotonic()
    done = run("register", file, "--json", *more)
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    count = summary.get("created", 0)
    if not count:
        raise DemoFailed(f"nothing was registered from {file}: {summary}")
    rate = count / max(time.monotonic() - since, 0.001)
    demo.did(f"{name} registered", f"{count:,} signed records, {rate:,.0f}/s", since)


def register_corpus(demo: Demo, limit: int) -> str | None:
    """The real registries of hwdata at the second-level node; returns one identifier of them."""
    absent = corpus.missing()
    if absent:
        console.print(f"  [yellow]–[/] not here: {', '.join(absent)} (apt-get install hwdata)")
    since = time.monotonic()
    under = demo.nodes["second"].prefix or ""
    file = demo.folder / "corpus.jsonl"
    prefixes, sample = corpus.write(file, under, limit)
    if not sample:
        return None
    run("register", prefixes, "--node", demo.nodes["second"].folder, "--no-sign", "--json")
    makers = prefixes.read_text(encoding="utf-8").count("CREATE ")
    demo.did("makers of the USB, PCI and OUI registries", f"{makers:,} prefixes hosted", since)
    register(demo, "their products", file, "--node", demo.nodes["second"].folder)
    return sample


def ask(demo: Demo, identifier: str, *how: str) -> dict[str, Any]:
    """`biaoshi resolve --json` through the recursive node."""
    node = demo.nodes["recursive"]
    server = node.url if "--http" in how else f"127.0.0.1:{node.irp}"
    done = run("resolve", identifier, "--server", server, "--json", *how)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def resolve_all(demo: Demo, identifiers: list[str]) -> None:
    """Identifiers of both enterprises over UDP, TCP and HTTP, verified up to the root key."""
    for identifier in identifiers:
        for face in ("--udp", "--tcp", "--http"):
            since = time.monotonic()
            answer = ask(demo, identifier, face, "--verify", "--root-key", str(demo.root_key))
            if not answer.get("values") or "chain of" not in answer.get("verification", ""):
                raise DemoFailed(f"{identifier} over {face} was not verified: {answer}")
            shown = f"{len(answer['values'])} values in {answer['ms']:.1f} ms, verified to the root"
            demo.did(f"{identifier} over {face[2:].upper()}", shown, since)


def get_json(demo: Demo, identifier: str) -> None:
    """The Handle JSON interface of the recursive node, as a browser or an ERP asks it."""
    since = time.monotonic()
    url = f"{demo.nodes['recursive'].url}/api/handles/{quote(identifier)}"
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own loopback node
        body = json.load(reply)
    if body.get("responseCode") != 1:
        raise DemoFailed(f"{url} answered {body}")
    demo.did(f"GET /api/handles/{identifier}", f"{len(body['values'])} values as JSON", since)


def refuse_tampered(demo: Demo, identifier: str) -> None:
    """Change one value on the steel maker's disk behind the node's back; it must be refused."""
    since = time.monotonic()
    tamper(demo.nodes["steel"].folder, identifier.encode(), b"GRADE", b"Q690D")
    node = demo.nodes["recursive"]
    how = ("--verify", "--root-key", demo.root_key, "--json")
    done = run("resolve", identifier, "--server", f"127.0.0.1:{node.irp}", *how, fail=False)
    if done.returncode != 4:
        raise DemoFailed(f"the tampered {identifier} was not refused: {done.stdout or done.stderr}")
    demo.did(f"{identifier} tampered with on disk", "refused, as it must be", since)
    console.print(f"    [dim]{json.loads(done.stdout)['message']}[/]")


def tell_story(demo: Demo) -> None:
    """Ore to machine over three companies: records, events, a trace, a recall, a page."""
    steel, equipment = demo.nodes["steel"], demo.nodes["equipment"]
    mapping = demo.folder / "story.toml"
    mapping.write_text(story.MAPPING, encoding="utf-8")
    companies = (
        ("steel maker", lambda: steel, story.steel_records(), story.steel_works()),
        ("carrier", lambda: join(demo), story.carrier_records(), story.carrier_works()),
        ("machine builder", lambda: equipment, story.equipment_records(), story.equipment_works()),
    )

    def work(
        name: str,
        node_of: Callable[[], Node],
        records: Iterator[tuple[str, str, str]],
        bookings: Iterator[story.Booking],
    ) -> None:
        node = node_of()
        file = story.write_records(demo.folder / f"{node.name}-things.csv", records)
        register(demo, f"things of the {name}", file, "--node", node.folder)
        capture(demo, name, node, mapping, bookings)

    with ThreadPoolExecutor(len(companies)) as pool:  # they do not know of each other
        for done in [pool.submit(work, *company) for company in companies]:
            done.result()
    trace_back(demo, equipment)
    recall(demo, equipment)
    show_page(demo)
    show_life(demo)


def join(demo: Demo) -> Node:
    """A sixth node: a company of its own, below the same second-level node."""
    since = time.monotonic()
    carrier = make_node(demo, "carrier", "enterprise", story.CARRIER, demo.nodes["second"])
    serve(carrier)
    demo.did("a carrier's node joins", f"{story.CARRIER}, a company of its own", since)
    enrol(demo, "carrier", "second")
    return carrier


def capture(
    demo: Demo, name: str, node: Node, mapping: Path, bookings: Iterator[story.Booking]
) -> None:
    """One company's bookings become signed events at its node; the carrier sends them by HTTPS."""
    since = time.monotonic()
    file = story.write_bookings(demo.folder / f"{node.name}-bookings.csv", bookings)
    where: tuple[str | Path, ...] = ("--node", node.folder)
    if node.name == "carrier":
        identity = f"300:0.NA/{node.prefix}={node.folder / 'keys' / 'admin_300.pem'}"
        certificate = node.folder / "tls" / "cert.pem"
        where = ("--node", node.secure_url, "--auth", identity, "--cert", certificate)
    done = run("events", "import", file, "--map", mapping, *where, "--label", "public", "--json")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    rows = sum(1 for _ in file.open(encoding="utf-8")) - 1
    demo.did(f"bookings of the {name}", f"{found['events']:,} signed events of {rows} rows", since)


def traced(identifier: str, node: Node, *how: str) -> dict[str, Any]:
    """`biaoshi trace` at one company's node, which asks the others."""
    done = run("trace", identifier, "--node", node.url, "--hops", "iterative", "--json", *how)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trace_back(demo: Demo, node: Node) -> None:
    """What a machine is made of, down to the ore, over the nodes of three companies."""
    since = time.monotonic()
    found = traced(story.SAMPLE, node)
    ids = {one["id"] for one in found["nodes"]}
    if story.ORE not in ids or story.BAD_COIL not in ids:
        raise DemoFailed(f"the trace of {story.SAMPLE} did not reach the ore: {found['gaps']}")
    bad = [one for one in found["evidence"] if one["signature"] != "ok"]
    if bad:
        raise DemoFailed(f"{len(bad)} events of the trace are not verified, such as {bad[0]}")
    counts = f"{len(ids)} things, {len(found['events'])} events, every signature verified"
    demo.did(f"{story.SAMPLE} traced back to the ore", counts, since)


def recall(demo: Demo, node: Node) -> None:
    """Every machine with a part of one bad coil."""
    since = time.monotonic()
    found = traced(story.BAD_COIL, node, "--recall")
    machines = sorted(
        one["id"] for one in found["nodes"] if one["id"].startswith(f"{story.EQUIPMENT}/PRESS-")
    )
    if len(machines) != story.BAD_MACHINES:
        raise DemoFailed(f"the recall of {story.BAD_COIL} found {machines}: {found['gaps']}")
    shown = f"{len(machines)} machines of {story.MACHINES}, {machines[0]} to {machines[-1]}"
    demo.did(f"{story.BAD_COIL} recalled", shown, since)


def page_of(demo: Demo) -> str:
    """The address of the page that tells the story."""
    return f"{demo.nodes['equipment'].url}/page/{quote(story.SAMPLE)}"


def show_page(demo: Demo) -> None:
    """The page people see, in both languages."""
    since = time.monotonic()
    for language, words in (("en", "servo press"), ("zh", "伺服冲床")):
        url = f"{page_of(demo)}?lang={language}"
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own loopback node
            text = reply.read().decode()
        if words not in text or 'class="life"' not in text or "<svg" not in text:
            raise DemoFailed(f"{url} does not tell the life of {story.SAMPLE}")
    demo.did(f"page of {story.SAMPLE}", f"{page_of(demo)} (中文, English)", since)


def show_life(demo: Demo) -> None:
    """The whole life on the page: ore to service, as three companies tell it."""
    since = time.monotonic()
    url = f"{page_of(demo)}?view=life"
    with urllib.request.urlopen(f"{url}&lang=en", timeout=30) as reply:  # noqa: S310 - as above
        text = reply.read().decode()
    for words in ("iron ore, lot 2601", "eastern hub", "needs replacement"):
        if words not in text:
            raise DemoFailed(f"{url} does not tell of: {words}")
    life = text[text.index('class="life"') :]
    count = life.count("✓ signature holds")
    if count < 2 or "✗" in text:
        raise DemoFailed(f"{url} shows events that do not verify")
    demo.did("its whole life over three companies", f"?view=life, {count} seals hold", since)


@contextmanager
def folder_for(path: Path) -> Iterator[Path]:
    """A fresh folder; only one that an earlier demo made is ever removed."""
    if path.exists():
        if not (path / MARK).exists():
            raise DemoFailed(f"{path} was not made by the demo; move it or give --folder")
        shutil.rmtree(path)
    path.mkdir(parents=True)
    (path / MARK).touch()
    yield path


def summary(demo: Demo) -> None:
    """The table of what happened and what to try next."""
    table = Table(title="What happened", title_justify="left", show_lines=False)
    table.add_column("step")
    table.add_column("result", overflow="fold")
    table.add_column("took", justify="right")
    for row in demo.rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"All in {time.monotonic() - demo.started:.1f} s.\n")


def what_next(demo: Demo, sample: str) -> None:
    """URLs and commands that work while the demo is up."""
    node = demo.nodes["recursive"]
    server = f"127.0.0.1:{node.irp}"
    biaoshi = Path(sys.executable).parent / "biaoshi"
    shown = biaoshi if biaoshi.exists() else "biaoshi"
    console.print("Try next:")
    for what, line in (
        ("a machine's page, as whoever scans its code sees it", page_of(demo)),
        ("its whole life over three companies", f"{page_of(demo)}?view=life"),
        (
            "every machine with steel of a bad coil",
            f"{demo.nodes['steel'].url}/page/{quote(story.BAD_COIL)}?view=recall-all",
        ),
        ("a record as JSON", f"{node.url}/api/handles/{quote(sample)}?pretty"),
        ("the same as a page", f"{node.url}/{quote(sample)}?noredirect"),
        (
            "each hop of a lookup, verified to the root",
            (
                f"{shown} resolve {sample} --server {server} --steps --verify "
                f"--root-key {demo.root_key}"
            ),
        ),
        (
            "who holds which prefix",
            f"{shown} prefix list --node {demo.nodes['second'].folder}",
        ),
        (
            "one identifier in all its spellings",
            f"{shown} id {sample} 'https://id.gs1.org/01/06901234567892/21/SN0001'",
        ),
        ("figures for Prometheus", f"{node.url}/metrics"),
    ):
        console.print(f"  [dim]{what}[/dim]")
        console.print(f"  {line}", soft_wrap=True, markup=False)


def save_picture(path: Path) -> None:
    """What was printed so far as an SVG, with no font fetched from elsewhere."""
    picture = console.export_svg(title="make demo", clear=False)
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    path.write_text(picture, encoding="utf-8")


def perform(demo: Demo, limit: int) -> str:
    """Every step in order; returns an identifier to try next."""
    build(demo)
    enrol(demo, "second", "top")
    enrol(demo, "steel", "second")
    enrol(demo, "equipment", "second")
    steel, equipment = demo.nodes["steel"], demo.nodes["equipment"]
    register(demo, "the steel maker's catalogue", CATALOGUE / "steel.csv", "--node", steel.folder)
    identity = f"300:0.NA/88.118.9={equipment.folder / 'keys' / 'admin_300.pem'}"
    certificate = equipment.folder / "tls" / "cert.pem"
    over_https = ("--node", equipment.secure_url, "--auth", identity, "--cert", certificate)
    machines = CATALOGUE / "equipment.csv"
    register(demo, "the equipment maker's catalogue (HTTPS)", machines, *over_https)
    hosted = register_corpus(demo, limit)
    steel_id, machine = "88.118.8/HRP-Q355B-20", "88.118.9/CNC-VMC-850"
    resolve_all(demo, [steel_id, machine])
    get_json(demo, machine)
    if hosted:
        get_json(demo, hosted)
    tell_story(demo)
    refuse_tampered(demo, "88.118.8/HRP-Q355B-40")
    return machine


@app.callback(invoke_without_command=True)
def main(
    once: Annotated[bool, typer.Option("--once", help="stop cleanly when done")] = False,
    folder: Annotated[Path, typer.Option(help="where the nodes live")] = Path(".demo"),
    corpus_limit: Annotated[
        int, typer.Option(help="records of the real registries; 0 = all")
    ] = 20_000,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="keep the steps as a picture")
    ] = None,
) -> None:
    """Run the story, then stay up until Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # or the nodes would go on without us
        signal.signal(number, signal.default_int_handler)
    console.record = svg is not None
    console.print("Biaoshi: six nodes on loopback, nothing leaves this machine.")
    demo: Demo | None = None
    try:
        with folder_for(folder.resolve()) as fresh:
            demo = Demo(fresh)
            sample = perform(demo, corpus_limit)
            if svg is not None:
                save_picture(svg)
            summary(demo)
            if not once:
                what_next(demo, sample)
                console.print("\nThe nodes stay up until Ctrl-C.")
                signal.pause()
    except KeyboardInterrupt:
        console.print("stopping …")
    except DemoFailed as error:
        console.print(f"[red]failed:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        if demo:
            stop(demo)


if __name__ == "__main__":
    app()
