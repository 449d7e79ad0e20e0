"""Settings: one tree of frozen dataclasses, read from DIR/biaoshi.toml.

Each field carries its explanation; `resolver.config_file` reads and writes the text. Nothing
else in the system reads the environment or another settings file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from resolver.copy_settings import EscrowSettings, MirrorSettings
from resolver.link_settings import DigitalLinkSettings
from resolver.setting import Pairs, section, setting

# ruff: noqa: RUF009 - setting() and section() make dataclass fields and nothing else

FILE_NAME: Final = "biaoshi.toml"
ROLES: Final = ("top", "second", "enterprise", "recursive", "mirror")

Port = int | None
"""0: any free port, chosen at each start. None, written "off": no such face."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who this node is. `biaoshi init` fills this in."""

    role: str = setting(
        "enterprise",
        "What the node is: top, second, enterprise, recursive, or mirror (a copy of another node).",
        choices=ROLES,
    )
    prefix: str = setting(
        "", 'The prefix this node is home to, such as "88.118.8". Only a recursive node has none.'
    )
    parent: str = setting(
        "",
        "Address of the parent node's HTTP face, such as https://parent.example.org:8443. "
        "Empty: the node stands alone and is the root of its own tree.",
    )
    hosts: tuple[str, ...] = setting(
        ("127.0.0.1",),
        'Addresses to listen on, IPv4 and IPv6: "127.0.0.1", "::1", "0.0.0.0" (all IPv4), '
        '"::" (all IPv6). Loopback only by default.',
    )
    announce: tuple[str, ...] = setting(
        (),
        "Addresses that the site record names to the world: the first IPv4 and the first IPv6 "
        "one. Empty: the hosts above. Needed when a host above means all addresses.",
    )
    description: str = setting("", "One line about the site, published in the site record.")
    contact: str = setting("", "Mail address of the operator, sent with a delegation request.")


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """The ports. "off": no such face; 0: any free port, chosen at each start."""

    irp: Port = setting(2641, "DO-IRP (Handle protocol), UDP and TCP.", least=0, most=65535)
    http: Port = setting(8000, "HTTP without TLS.", least=0, most=65535)
    https: Port = setting(8443, "HTTP over TLS.", least=0, most=65535)
    dns: Port = setting(None, "DNS, UDP and TCP.", least=0, most=65535)


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Processes: one supervisor, one writer, some readers."""

    readers: int = setting(
        0, "Reader processes, which answer everything. 0: one a core.", least=0, most=256
    )
    uvloop: bool = setting(True, "Use uvloop as the event loop where it is installed.")
    watchdog_s: float = setting(
        10.0, "A reader silent for so many seconds is replaced.", least=1, most=3600
    )
    writer_watchdog_s: float = setting(
        60.0, "The same for the writer, which may wait for a slow disk.", least=5, most=3600
    )
    supervisor_watchdog_s: float = setting(
        30.0, "The same for the supervisor; all processes go with it.", least=5, most=3600
    )
    start_s: float = setting(
        60.0, "A process that is not ready after so many seconds is replaced.", least=1, most=3600
    )
    restart_most_s: float = setting(
        30.0,
        "A process that died is started again at once; if it keeps dying after 0.1 s, 0.2 s, … "
        "up to this, or up to 0.5 s where it had been ready.",
        least=0.1,
        most=3600,
    )
    drain_s: float = setting(
        10.0,
        "On stop and reload, work in flight may take so many seconds to finish.",
        least=0,
        most=3600,
    )


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The store and the queue before its one writer."""

    map_size_gib: int = setting(
        1024,
        "Upper bound of the store file, in GiB. The file is sparse: it takes what it holds.",
        least=1,
        most=65536,
    )
    queue_changes: int = setting(
        20_000,
        "Changes that may wait for the writer; beyond it the answer is busy.",
        least=1,
        most=10_000_000,
    )
    group_changes: int = setting(
        2_000, "Changes written in one transaction at most.", least=1, most=1_000_000
    )
    ballast_mib: int = setting(
        8,
        "A file of this size holds disk space that is given up when others fill the disk, so that "
        "deleting still works. 0: none.",
        least=0,
        most=65_536,
    )
    scrub_hours: float = setting(
        24.0,
        "Every record is compared with its digests in so many hours; damaged ones are "
        "quarantined. 0: never.",
        least=0,
        most=8_760,
    )
    warn_full_percent: int = setting(
        80, "Warn when disk or map are used to this share.", least=1, most=100
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds on what others may send, hold open or ask for."""

    message_bytes: int = setting(
        262_144, "Largest DO-IRP message, in octets.", least=512, most=262_144
    )
    handle_bytes: int = setting(2_048, "Longest identifier, in octets.", least=64, most=2_048)
    value_bytes: int = setting(
        240_000, "Largest data of one value, in octets.", least=64, most=262_144
    )
    record_values: int = setting(2_048, "Most values of one record.", least=1, most=2_048)
    record_bytes: int = setting(
        240_000, "Largest record, all values encoded, in octets.", least=512, most=262_144
    )
    udp_allowance_bytes: int = setting(
        65_536,
        "UDP answers to an unproven source network (/24, /56) that are free a minute, in octets. "
        "Proven: it completed a TCP exchange or a challenge in the last ten minutes.",
        least=0,
    )
    udp_factor: float = setting(
        3.0, "Beyond the free allowance: octets sent per octet received.", least=0, most=100
    )
    udp_packets: int = setting(
        533,
        "Most datagrams of one UDP answer to a source not proven yet; a longer one is answered "
        "busy. 533 is the longest message: deployed clients do not turn to TCP by themselves.",
        least=1,
        most=533,
    )
    connections: int = setting(
        10_000, "Open TCP connections of one reader process.", least=1, most=1_000_000
    )
    connections_per_source: int = setting(
        1_000, "Open TCP connections of one reader from one address.", least=1, most=1_000_000
    )
    request_s: float = setting(
        10.0, "Seconds in which a whole request must have arrived.", least=0.1, most=3600
    )
    idle_s: float = setting(
        60.0, "Seconds after which an idle kept-alive connection is closed.", least=0.1, most=86400
    )
    buffer_bytes: int = setting(
        262_144, "Octets buffered for one connection.", least=4096, most=2**30
    )
    http_body_bytes: int = setting(
        16_777_216, "Largest HTTP request body that is read as a whole.", least=1024, most=2**31
    )
    batch_rows: int = setting(
        1_000_000, "Most rows of one registration batch.", least=1, most=10**9
    )
    pending_messages: int = setting(
        1_000, "Multi-packet UDP requests that may wait for the rest.", least=1, most=1_000_000
    )
    challenges: int = setting(
        10_000, "Unanswered challenges a reader keeps.", least=1, most=10_000_000
    )
    challenge_s: float = setting(60.0, "Seconds in which a challenge lives.", least=1, most=600)
    sessions: int = setting(10_000, "Open sessions a reader keeps.", least=1, most=10_000_000)
    session_s: float = setting(
        3600.0, "Seconds after which an idle session ends.", least=10, most=604_800
    )
    failures_per_min: int = setting(
        10,
        "Failed authentications a minute for one source or account before answers are delayed.",
        least=1,
        most=1_000_000,
    )
    capture_events: int = setting(5_000, "Most events of one EPCIS capture.", least=1, most=20_000)
    capture_bytes: int = setting(
        8_388_608, "Largest body of one EPCIS capture, in octets.", least=1024, most=16_777_216
    )
    captures: int = setting(
        64,
        "EPCIS captures that may wait in one reader; beyond it the answer is busy.",
        least=1,
        most=100_000,
    )
    trace_depth: int = setting(50, "Steps from the start of a trace.", least=0, most=200)
    trace_nodes: int = setting(100_000, "Most things of one trace.", least=1, most=10_000_000)
    trace_events: int = setting(200_000, "Most events read for a trace.", least=1, most=10_000_000)
    trace_s: float = setting(20.0, "Seconds of one trace at this node.", least=0.1, most=600)
    trace_slack_s: float = setting(
        300.0, "How far the clocks of two companies may differ, in a trace.", least=0, most=86_400
    )
    trace_hops: int = setting(100, "Most questions to other nodes a trace.", least=0, most=1_000)
    page_hops: int = setting(24, "Questions of a page to others; 0: none.", least=0, most=1_000)
    page_s: float = setting(2.0, "Seconds a page asks other nodes.", least=0.1, most=60)
    delegation_requests: int = setting(
        1_000, "Delegation requests that may wait for approval.", least=0, most=1_000_000
    )


@dataclass(frozen=True, slots=True)
class RecursionSettings:
    """Answers about identifiers of other nodes: iteration and verification."""

    enabled: bool = setting(False, "Whether this node resolves for others.")
    roots: tuple[str, ...] = setting(
        (),
        "Where to begin: HTTP addresses of root nodes (https://root.example.org:8443), DO-IRP "
        "addresses (irp://192.0.2.1:2641), or hdl://192.0.2.1:2641 for a root of the global Handle "
        "system. Several trees: a prefix or a scheme before the address binds it, as in "
        '"88=https://…", "idis=https://…", "oid=https://…", "doi=hdl://…"; what no other one '
        "holds belongs to those without. Several addresses of one tree are tried beside each other.",
    )
    root_keys: tuple[str, ...] = setting(
        (),
        "Files, relative to the node's folder, with the public keys that are trusted as roots "
        "(PEM, JSON Web Key or Handle form).",
    )
    verify: str = setting(
        "when-signed",
        "Signatures of remote records: off, when-signed (a wrong one is refused, a missing one "
        "is said) or required.",
        choices=("off", "when-signed", "required"),
    )
    verify_prefixes: Pairs = setting(
        (),
        "The same for names under a prefix, where it differs; the longest prefix counts: "
        '{ "88.118.8" = "required", "10" = "off" }.',
        choices=("off", "when-signed", "required"),
    )
    certify: bool = setting(
        True,
        "Ask every site to sign its replies with the key that its parent published, and refuse "
        "unsigned ones. Off: sites that cannot sign can be read, and whoever sits on the way can "
        "change what is unsigned.",
    )
    key_status_s: int = setting(
        30,
        "How long the certificates of signers are kept, whatever their TTL, so that a revoked key "
        "counts no more; a record verified through them is good for as long at a time.",
        least=1,
        most=60,
    )
    referrals: int = setting(8, "Referrals followed for one question.", least=1, most=20)
    messages: int = setting(20, "Messages sent upstream for one question.", least=1, most=1000)
    total_s: float = setting(5.0, "Seconds for one question in all.", least=0.1, most=60)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How much each reader keeps of other nodes' answers, and how long."""

    max_entries: int = setting(
        100_000,
        "Records kept; what is asked least goes first. 0 turns the cache off.",
        least=0,
        most=100_000_000,
    )
    max_bytes: int = setting(67_108_864, "Octets that all kept records may take together.", least=0)
    max_negative: int = setting(
        20_000, "Absent names kept, and failures kept: each has its own room.", least=0
    )
    max_ttl_s: int = setting(
        86_400, "No record is kept longer, whatever its TTL says.", least=0, most=172_800
    )
    negative_ttl_s: int = setting(60, "How long `no such name` is believed.", least=0, most=3600)
    stale_max_s: int = setting(
        86_400,
        "How long after its TTL a record may still be given while its owner does not answer.",
        least=0,
    )
    stale_ttl_s: int = setting(30, "The TTL that such an answer carries.", least=1, most=3600)
    failure_first_s: float = setting(
        1.0,
        "After a failure a name is not asked again for so long; doubled with each further one.",
        least=0,
        most=300,
    )
    failure_max_s: float = setting(300.0, "The longest such pause.", least=0, most=3600)
    persist: bool = setting(
        False,
        "Keep the records in DIR/cache too, so that they are there after a restart. Written "
        "every some seconds; at most twice max_bytes on disk.",
    )
    follow: Pairs = setting(
        (),
        "Nodes whose log is watched, by prefix: when it grew, what is cached of that prefix is "
        'fetched anew when next asked for: { "88.118.8" = "https://steel.example.org" }.',
    )
    follow_s: float = setting(
        5.0, "How often such a log is looked at, in seconds.", least=0.1, most=3600
    )


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """The one way out: every connection this node opens passes these rules."""

    allow_private: bool = setting(
        False,
        "Let private addresses (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7) through.",
    )
    allow: tuple[str, ...] = setting(
        (),
        'Addresses or networks that pass whatever their class, such as "127.0.0.0/8". '
        "Everything else must be a public address.",
    )
    allow_ports: tuple[int, ...] = setting(
        (), "Ports that pass besides 80, 443 and 1024 to 65535 (known services excepted)."
    )
    connect_timeout_s: float = setting(
        3.0, "How long a TCP or TLS handshake may take, in seconds.", least=0.1, most=120
    )
    max_connections: int = setting(
        512, "Sockets open at once, of one reader.", least=1, most=65_536
    )
    max_per_address: int = setting(
        128, "Sockets open at once to one address, of one reader.", least=1, most=65_536
    )
    max_bytes: int = setting(
        1_048_576, "Octets taken as one reply at most.", least=4096, most=2**30
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP face."""

    trusted_proxies: tuple[str, ...] = setting(
        (), "Networks of reverse proxies whose forwarded headers are believed."
    )
    redirect_schemes: tuple[str, ...] = setting(
        ("http", "https"), "Schemes of stored addresses that a browser is redirected to."
    )
    metrics_networks: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"), "Networks that may read /metrics."
    )
    country_header: str = setting(
        "",
        "Header in which the trusted proxies say a client's country (two letters), for `country` "
        "of 10320/loc. Empty: none.",
    )
    country_table: str = setting(
        "",
        "File of lines NETWORK,CC with the countries of networks, relative to the node's folder; "
        "none comes with this program. Empty: none.",
    )


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """The DNS face: OIDs by the OID resolution system (ORS), GTINs by the Object Name Service."""

    ors_zone: str = setting(
        "oid-res.org",
        "Domain below which OIDs are answered: 1.2.156 is 156.2.1.ZONE. A private tree has its "
        "own. Empty: no OIDs.",
    )
    ors_dummy: str = setting(
        "ors-dummy", "Label in front of an OID's name. Empty: none, the records lie at the name."
    )
    ors_prefix: str = setting(
        "ORS+", "What stands before the service type (COID, UINF …) of records made for OIDs."
    )
    ons_zone: str = setting(
        "onsepc.com", "Domain below which GTINs are answered, as …gtin.gs1.id.ZONE. Empty: none."
    )
    branches: tuple[str, ...] = setting(
        (),
        "Prefixes given to this node by a parent whose DNS leads here, such as 2.999.5 or "
        "GS1.9.5.0.6: the node's zones begin there, not at the top of the trees.",
    )
    ns: tuple[str, ...] = setting(
        (),
        "Names of the zones' name servers. Empty: ns.ZONE, with the addresses that the site "
        "record names.",
    )
    hostmaster: str = setting(
        "", "Mail address in the zones' SOA, such as dns@example.org. Empty: hostmaster@ZONE."
    )
    ttl: int = setting(
        3600, "TTL of the zones' own records (SOA, NS, keys), in seconds.", least=0, most=604_800
    )
    negative_ttl: int = setting(
        300, "How long a resolver may believe that a name is not there, in s.", least=0, most=86_400
    )
    udp_bytes: int = setting(
        1232, "Longest answer over UDP; a longer one is sent over TCP.", least=512, most=4096
    )
    rrl: int = setting(
        100,
        "Equal answers a second over UDP to one unproven source network (/24, /56); beyond it "
        "they are truncated, so that the client asks over TCP. 0: no such limit.",
        least=0,
        most=1_000_000,
    )
    signature_days: int = setting(
        14, "How long a DNSSEC signature holds; renewed when half of it is over.", least=1, most=90
    )
    signatures: int = setting(
        50_000,
        "DNSSEC signatures a reader keeps, at about 400 octets each; others are made when asked.",
        least=100,
        most=10_000_000,
    )


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """What is accepted as proof of an identity; the defaults serve deployed Handle clients."""

    secret_keys: bool = setting(True, "Accept HS_SECKEY secrets at all.")
    sha1: bool = setting(
        True,
        "Accept SHA-1 in challenge answers (Handle.Net clients and old scripts send them).",
    )
    md5: bool = setting(False, "Accept MD5 in challenge answers.")
    dsa: bool = setting(False, "Verify DSA signatures of peers that have nothing else.")
    min_rsa_bits: int = setting(2048, "Shortest RSA key accepted.", least=1024, most=16384)
    min_dh_bits: int = setting(
        1024,
        "Shortest Diffie-Hellman group in session set-up. Deployed Java clients offer 1024.",
        least=512,
        most=16384,
    )
    min_pbkdf2_iterations: int = setting(
        1_000, "Fewest PBKDF2 rounds accepted in an answer.", least=1
    )
    max_pbkdf2_iterations: int = setting(
        1_000_000, "Most PBKDF2 rounds worked for a client.", least=1, most=10_000_000
    )
    min_version: str = setting(
        "2.7", "Lowest protocol version for anything authenticated, as MAJOR.MINOR."
    )


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """Signatures on records."""

    sign_registrations: bool = setting(
        True,
        "Sign records registered without a signature with the node's key.",
    )
    handle_compat: bool = setting(
        False,
        "Sign records with RS256, which Handle.Net software verifies, instead of Ed25519.",
    )
    batch: int = setting(
        64,
        "Records registered together that one signature covers, each with its proof; 1 signs "
        "every record by itself.",
        least=1,
        most=65_536,
    )
    unsigned: str = setting(
        "accept",
        "A registration without a valid signature of its own: accept, mark or refuse.",
        choices=("accept", "mark", "refuse"),
    )
    witnesses: tuple[str, ...] = setting(
        (),
        "Witnesses whose cosignatures of the log are gathered and served, as `biaoshi witness "
        '--show-key` prints them: "witness.example.net+1a2b3c4d+BA…".',
    )
    certificate_days: int = setting(
        3_650, "How long the certificates of delegated prefixes hold.", least=1, most=36_500
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Logs: one JSON object a line on the standard error output."""

    level: str = setting(
        "info", "debug, info, warning or error.", choices=("debug", "info", "warning", "error")
    )
    query_sample: int = setting(
        0, "Log one of so many lookups. 0: none.", least=0, most=1_000_000_000
    )


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Who may do everything at this node."""

    administrators: tuple[str, ...] = setting(
        (),
        "Identities with all rights here, listing and homing included, as INDEX:HANDLE.",
    )
    public_listing: bool = setting(
        False,
        "Let anybody list all identifiers under a prefix.",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    node: NodeSettings = section(NodeSettings)
    faces: FaceSettings = section(FaceSettings)
    processes: ProcessSettings = section(ProcessSettings)
    store: StoreSettings = section(StoreSettings)
    limits: LimitSettings = section(LimitSettings)
    recursion: RecursionSettings = section(RecursionSettings)
    cache: CacheSettings = section(CacheSettings)
    outbound: OutboundSettings = section(OutboundSettings)
    http: HttpSettings = section(HttpSettings)
    digital_link: DigitalLinkSettings = section(DigitalLinkSettings)
    dns: DnsSettings = section(DnsSettings)
    auth: AuthSettings = section(AuthSettings)
    signing: SigningSettings = section(SigningSettings)
    log: LogSettings = section(LogSettings)
    admin: AdminSettings = section(AdminSettings)
    mirror: MirrorSettings = section(MirrorSettings)
    escrow: EscrowSettings = section(EscrowSettings)
