"""The Application Identifiers: format, checks, Digital Link role and pairing rules, one row each.

Facts as of the GS1 Barcode Syntax Dictionary of July 2026 (gs1/gs1-syntax-dictionary), in a shape
of our own. What the checks named here do stands in protocol.schemes.gs1_checks.

A format is one or more parts: N digits, X character set 82, Y set 39, Z base64url; `6` exactly
six, `..20` one to twenty, `?` may be missing, `:name` a check. Coupons (8110, 8112) are checked
for characters and length alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """One component of a value. kind: N, X, Y or Z; least and most: characters."""

    kind: str
    least: int
    most: int
    optional: bool
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ai:
    """What is known of one AI.

    fixed: its length is predefined, so no separator follows it. attribute: may stand in the
    query of a Digital Link. key: None, or the sequences of qualifiers it takes as primary key
    (empty: none). needs: one of these groups must stand beside it, all of a group. bars: may not
    stand beside it. In both a trailing n is any digit.
    """

    ai: str
    parts: tuple[Part, ...]
    title: str
    fixed: bool
    attribute: bool
    key: tuple[tuple[str, ...], ...] | None
    needs: tuple[tuple[str, ...], ...]
    bars: tuple[str, ...]


_PART = re.compile(r"([NXYZ])(\.\.)?([0-9]+)(\?)?((?::[a-z0-9_]+)*)")


def _part(text: str) -> Part:
    match = _PART.fullmatch(text)
    assert match is not None, text  # noqa: S101 - the table below is ours
    kind, variable, most, optional, checks = match.groups()
    least = 1 if variable else int(most)
    return Part(kind, least, int(most), bool(optional), tuple(checks.split(":")[1:]))


def _split(text: str, separator: str) -> tuple[str, ...]:
    return tuple(text.split(separator)) if text else ()


def _ai(
    ais: str,
    format_: str,
    title: str,
    *,
    fixed: bool = False,
    attribute: bool = True,
    key: str | None = None,
    needs: str = "",
    bars: str = "",
) -> tuple[Ai, ...]:
    first, _, last = ais.partition("-")
    parts = tuple(map(_part, format_.split()))
    sequences = None if key is None else tuple(_split(s, ",") for s in _split(key, "|"))
    groups = tuple(_split(group, "+") for group in _split(needs, ","))
    return tuple(
        Ai(
            str(number).zfill(len(first)),
            parts,
            title,
            fixed,
            attribute,
            sequences,
            groups,
            _split(bars, ","),
        )
        for number in range(int(first), int(last or first) + 1)
    )


# fmt: off
_ROWS = (
    _ai("00", "N18:check:company2", "SSCC", fixed=True, key=""),
    _ai("01", "N14:check:company2", "GTIN", fixed=True, key="22,10,21|235", bars="255,37"),
    _ai("02", "N14:check:company2", "CONTENT", fixed=True, needs="37", bars="01,03"),
    _ai("03", "N14:check:company2", "MTO GTIN", fixed=True, attribute=False, bars="01,02,37,235"),
    _ai("10", "X..20", "BATCH/LOT", needs="01,02,03,8006,8026"),
    _ai("11", "N6:date0", "PROD DATE", fixed=True, needs="01,02,03,8006,8026"),
    _ai("12", "N6:date0", "DUE DATE", fixed=True, needs="8020"),
    _ai("13", "N6:date0", "PACK DATE", fixed=True, needs="01,02,03,8006,8026"),
    _ai("15", "N6:date0", "BEST BEFORE or BEST BY", fixed=True, needs="01,02,03,8006,8026"),
    _ai("16", "N6:date0", "SELL BY", fixed=True, needs="01,02,03,8006,8026"),
    _ai("17", "N6:date0", "USE BY or EXPIRY", fixed=True, needs="01,02,03,255,8006,8026"),
    _ai("20", "N2", "VARIANT", fixed=True, needs="01,02,03,8006,8026"),
    _ai("21", "X..20", "SERIAL", attribute=False, needs="01,03,8006", bars="235"),
    _ai("22", "X..20", "CPV", attribute=False, needs="01"),
    _ai("235", "X..28", "TPX", attribute=False, needs="01"),
    _ai("240", "X..30", "ADDITIONAL ID", needs="01,02,03,8006,8026"),
    _ai("241", "X..30", "CUST. PART No.", needs="01,02,03,8006,8026"),
    _ai("242", "N..6", "MTO VARIANT", needs="01,02,8006,8026"),
    _ai("243", "X..20", "PCN", needs="01,03"),
    _ai("250", "X..30", "SECONDARY SERIAL", needs="01+21,03+21,8006+21"),
    _ai("251", "X..30", "REF. TO SOURCE", needs="01,03,8006"),
    _ai("253", "N13:check:company X..17?", "GDTI", key=""),
    _ai("254", "X..20", "GLN EXTENSION COMPONENT", attribute=False, needs="414"),
    _ai("255", "N13:check:company N..12?", "GCN", key="", bars="01,02,415,8006,8020,8026"),
    _ai("30", "N..8", "VAR. COUNT", needs="01,02"),
    _ai("3100-3105", "N6", "NET WEIGHT (kg)", fixed=True, needs="01,02", bars="310n"),
    _ai("3110-3115", "N6", "LENGTH (m)", fixed=True, needs="01,02", bars="311n"),
    _ai("3120-3125", "N6", "WIDTH (m)", fixed=True, needs="01,02", bars="312n"),
    _ai("3130-3135", "N6", "HEIGHT (m)", fixed=True, needs="01,02", bars="313n"),
    _ai("3140-3145", "N6", "AREA (m²)", fixed=True, needs="01,02", bars="314n"),
    _ai("3150-3155", "N6", "NET VOLUME (l)", fixed=True, needs="01,02", bars="315n"),
    _ai("3160-3165", "N6", "NET VOLUME (m³)", fixed=True, needs="01,02", bars="316n"),
    _ai("3200-3205", "N6", "NET WEIGHT (lb)", fixed=True, needs="01,02", bars="320n"),
    _ai("3210-3215", "N6", "LENGTH (in)", fixed=True, needs="01,02", bars="321n"),
    _ai("3220-3225", "N6", "LENGTH (ft)", fixed=True, needs="01,02", bars="322n"),
    _ai("3230-3235", "N6", "LENGTH (yd)", fixed=True, needs="01,02", bars="323n"),
    _ai("3240-3245", "N6", "WIDTH (in)", fixed=True, needs="01,02", bars="324n"),
    _ai("3250-3255", "N6", "WIDTH (ft)", fixed=True, needs="01,02", bars="325n"),
    _ai("3260-3265", "N6", "WIDTH (yd)", fixed=True, needs="01,02", bars="326n"),
    _ai("3270-3275", "N6", "HEIGHT (in)", fixed=True, needs="01,02", bars="327n"),
    _ai("3280-3285", "N6", "HEIGHT (ft)", fixed=True, needs="01,02", bars="328n"),
    _ai("3290-3295", "N6", "HEIGHT (yd)", fixed=True, needs="01,02", bars="329n"),
    _ai("3300-3305", "N6", "GROSS WEIGHT (kg)", fixed=True, needs="00,01", bars="330n"),
    _ai("3310-3315", "N6", "LENGTH (m), log", fixed=True, needs="00,01", bars="331n"),
    _ai("3320-3325", "N6", "WIDTH (m), log", fixed=True, needs="00,01", bars="332n"),
    _ai("3330-3335", "N6", "HEIGHT (m), log", fixed=True, needs="00,01", bars="333n"),
    _ai("3340-3345", "N6", "AREA (m²), log", fixed=True, needs="00,01", bars="334n"),
    _ai("3350-3355", "N6", "VOLUME (l), log", fixed=True, needs="00,01", bars="335n"),
    _ai("3360-3365", "N6", "VOLUME (m³), log", fixed=True, needs="00,01", bars="336n"),
    _ai("3370-3375", "N6", "KG PER m²", fixed=True, needs="01", bars="337n"),
    _ai("3400-3405", "N6", "GROSS WEIGHT (lb)", fixed=True, needs="00,01", bars="340n"),
    _ai("3410-3415", "N6", "LENGTH (in), log", fixed=True, needs="00,01", bars="341n"),
    _ai("3420-3425", "N6", "LENGTH (ft), log", fixed=True, needs="00,01", bars="342n"),
    _ai("3430-3435", "N6", "LENGTH (yd), log", fixed=True, needs="00,01", bars="343n"),
    _ai("3440-3445", "N6", "WIDTH (in), log", fixed=True, needs="00,01", bars="344n"),
    _ai("3450-3455", "N6", "WIDTH (ft), log", fixed=True, needs="00,01", bars="345n"),
    _ai("3460-3465", "N6", "WIDTH (yd), log", fixed=True, needs="00,01", bars="346n"),
    _ai("3470-3475", "N6", "HEIGHT (in), log", fixed=True, needs="00,01", bars="347n"),
    _ai("3480-3485", "N6", "HEIGHT (ft), log", fixed=True, needs="00,01", bars="348n"),
    _ai("3490-3495", "N6", "HEIGHT (yd), log", fixed=True, needs="00,01", bars="349n"),
    _ai("3500-3505", "N6", "AREA (in²)", fixed=True, needs="01,02", bars="350n"),
    _ai("3510-3515", "N6", "AREA (ft²)", fixed=True, needs="01,02", bars="351n"),
    _ai("3520-3525", "N6", "AREA (yd²)", fixed=True, needs="01,02", bars="352n"),
    _ai("3530-3535", "N6", "AREA (in²), log", fixed=True, needs="00,01", bars="353n"),
    _ai("3540-3545", "N6", "AREA (ft²), log", fixed=True, needs="00,01", bars="354n"),
    _ai("3550-3555", "N6", "AREA (yd²), log", fixed=True, needs="00,01", bars="355n"),
    _ai("3560-3565", "N6", "NET WEIGHT (tr oz)", fixed=True, needs="01,02", bars="356n"),
    _ai("3570-3575", "N6", "NET VOLUME (oz)", fixed=True, needs="01,02", bars="357n"),
    _ai("3600-3605", "N6", "NET VOLUME (qt (US))", fixed=True, needs="01,02", bars="360n"),
    _ai("3610-3615", "N6", "NET VOLUME (gal.)", fixed=True, needs="01,02", bars="361n"),
    _ai("3620-3625", "N6", "VOLUME (qt (US)), log", fixed=True, needs="00,01", bars="362n"),
    _ai("3630-3635", "N6", "VOLUME (gal (US)), log", fixed=True, needs="00,01", bars="363n"),
    _ai("3640-3645", "N6", "NET VOLUME (in³)", fixed=True, needs="01,02", bars="364n"),
    _ai("3650-3655", "N6", "NET VOLUME (ft³)", fixed=True, needs="01,02", bars="365n"),
    _ai("3660-3665", "N6", "NET VOLUME (yd³)", fixed=True, needs="01,02", bars="366n"),
    _ai("3670-3675", "N6", "VOLUME (in³), log", fixed=True, needs="00,01", bars="367n"),
    _ai("3680-3685", "N6", "VOLUME (ft³), log", fixed=True, needs="00,01", bars="368n"),
    _ai("3690-3695", "N6", "VOLUME (yd³), log", fixed=True, needs="00,01", bars="369n"),
    _ai("37", "N..8", "COUNT", needs="00+02,00+8026"),
    _ai("3900-3909", "N..15", "AMOUNT", needs="255,8020", bars="390n,391n,394n,8111"),
    _ai("3910-3919", "N3:currency N..15", "AMOUNT", needs="8020", bars="391n"),
    _ai("3920-3929", "N..15", "PRICE",
        needs="01+30,01+31nn,01+32nn,01+35nn,01+36nn", bars="392n,393n"),
    _ai("3930-3939", "N3:currency N..15", "PRICE", needs="30,31nn,32nn,35nn,36nn", bars="393n"),
    _ai("3940-3943", "N4", "PRCNT OFF", needs="255", bars="394n,8111"),
    _ai("3950-3955", "N6", "PRICE/UoM", needs="30,31nn,32nn,35nn,36nn", bars="392n,393n,395n,8005"),
    _ai("400", "X..30", "ORDER NUMBER"),
    _ai("401", "X..30:company", "GINC", key=""),
    _ai("402", "N17:check:company", "GSIN", key=""),
    _ai("403", "X..30", "ROUTE", needs="00"),
    _ai("410", "N13:check:company", "SHIP TO LOC", fixed=True),
    _ai("411", "N13:check:company", "BILL TO", fixed=True),
    _ai("412", "N13:check:company", "PURCHASE FROM", fixed=True),
    _ai("413", "N13:check:company", "SHIP FOR LOC", fixed=True),
    _ai("414", "N13:check:company", "LOC No.", fixed=True, key="254|7040"),
    _ai("415", "N13:check:company", "PAY TO", fixed=True, key="8020", needs="8020"),
    _ai("416", "N13:check:company", "PROD/SERV LOC", fixed=True),
    _ai("417", "N13:check:company", "PARTY", fixed=True, key="7040"),
    _ai("420", "X..20", "SHIP TO POST", bars="421"),
    _ai("421", "N3:country X..9", "SHIP TO POST", bars="4307"),
    _ai("422", "N3:country", "ORIGIN", needs="01,02,03,8006,8026", bars="426"),
    _ai("423", "N3:country N3?:country N3?:country N3?:country N3?:country", "COUNTRY - INITIAL PROCESS",
        needs="01,02,03", bars="426"),
    _ai("424", "N3:country", "COUNTRY - PROCESS", needs="01,02,03", bars="426"),
    _ai("425", "N3:country N3?:country N3?:country N3?:country N3?:country", "COUNTRY - DISASSEMBLY",
        needs="01,02,03", bars="426"),
    _ai("426", "N3:country", "COUNTRY - FULL PROCESS", needs="01,02,03"),
    _ai("427", "X..3", "ORIGIN SUBDIVISION", needs="01+422,02+422,03+422"),
    _ai("4300", "X..35:escapes", "SHIP TO COMP", needs="00"),
    _ai("4301", "X..35:escapes", "SHIP TO NAME", needs="00"),
    _ai("4302", "X..70:escapes", "SHIP TO ADD1", needs="00"),
    _ai("4303", "X..70:escapes", "SHIP TO ADD2", needs="4302"),
    _ai("4304", "X..70:escapes", "SHIP TO SUB", needs="00"),
    _ai("4305", "X..70:escapes", "SHIP TO LOC", needs="00"),
    _ai("4306", "X..70:escapes", "SHIP TO REG", needs="00"),
    _ai("4307", "X2:country_letters", "SHIP TO COUNTRY", needs="00"),
    _ai("4308", "X..30", "SHIP TO PHONE", needs="00"),
    _ai("4309", "N10:latitude N10:longitude", "SHIP TO GEO", needs="00"),
    _ai("4310", "X..35:escapes", "RTN TO COMP", needs="00"),
    _ai("4311", "X..35:escapes", "RTN TO NAME", needs="00"),
    _ai("4312", "X..70:escapes", "RTN TO ADD1", needs="00"),
    _ai("4313", "X..70:escapes", "RTN TO ADD2", needs="4312"),
    _ai("4314", "X..70:escapes", "RTN TO SUB", needs="00"),
    _ai("4315", "X..70:escapes", "RTN TO LOC", needs="00"),
    _ai("4316", "X..70:escapes", "RTN TO REG", needs="00"),
    _ai("4317", "X2:country_letters", "RTN TO COUNTRY", needs="00"),
    _ai("4318", "X..20", "RTN TO POST", needs="00"),
    _ai("4319", "X..30", "RTN TO PHONE", needs="00"),
    _ai("4320", "X..35:escapes", "SRV DESCRIPTION", needs="00"),
    _ai("4321", "N1:yes_no", "DANGEROUS GOODS", needs="00"),
    _ai("4322", "N1:yes_no", "AUTH TO LEAVE", needs="00"),
    _ai("4323", "N1:yes_no", "SIG REQUIRED", needs="00"),
    _ai("4324", "N6:date0 N4:time", "NOT BEF DEL DT", needs="00"),
    _ai("4325", "N6:date0 N4:time", "NOT AFT DEL DT", needs="00"),
    _ai("4326", "N6:date", "REL DATE", needs="00"),
    _ai("4330", "N6 X1?:hyphen", "MAX TEMP F.", needs="00", bars="4331"),
    _ai("4331", "N6 X1?:hyphen", "MAX TEMP C.", needs="00", bars="4330"),
    _ai("4332", "N6 X1?:hyphen", "MIN TEMP F.", needs="00", bars="4333"),
    _ai("4333", "N6 X1?:hyphen", "MIN TEMP C.", needs="00", bars="4332"),
    _ai("7001", "N13", "NSN", needs="01,02,8006,8026"),
    _ai("7002", "X..30", "MEAT CUT", needs="01,02"),
    _ai("7003", "N6:date N4:time", "EXPIRY TIME", needs="01,02,03"),
    _ai("7004", "N..4", "ACTIVE POTENCY", needs="01+10,03+10"),
    _ai("7005", "X..12", "CATCH AREA", needs="01,02"),
    _ai("7006", "N6:date", "FIRST FREEZE DATE", needs="01,02"),
    _ai("7007", "N6:date N6?:date", "HARVEST DATE", needs="01,02"),
    _ai("7008", "X..3", "AQUATIC SPECIES", needs="01,02"),
    _ai("7009", "X..10", "FISHING GEAR TYPE", needs="01,02"),
    _ai("7010", "X..2", "PROD METHOD", needs="01,02,03"),
    _ai("7011", "N6:date N4?:time", "TEST BY DATE", needs="01,02,03"),
    _ai("7020", "X..20", "REFURB LOT", needs="01+416,03+416,8006+416"),
    _ai("7021", "X..20", "FUNC STAT", needs="01,03,8006"),
    _ai("7022", "X..20", "REV STAT", needs="01+7021,03+7021,8006+7021"),
    _ai("7023", "X..30:company", "GIAI - ASSEMBLY"),
    _ai("7030-7039", "N3:country999 X..27", "PROCESSOR", needs="01,02"),
    _ai("7040", "N1 X1 X1 X1:importer", "UIC+EXT", attribute=False),
    _ai("7041", "X..4:package", "UFRGT UNIT TYPE", attribute=False, needs="00"),
    _ai("710", "X..20", "NHRN PZN", needs="01"),
    _ai("711", "X..20", "NHRN CIP", needs="01"),
    _ai("712", "X..20", "NHRN CN", needs="01"),
    _ai("713", "X..20", "NHRN DRN", needs="01"),
    _ai("714", "X..20", "NHRN AIM", needs="01"),
    _ai("715", "X..20", "NHRN NDC", needs="01"),
    _ai("716", "X..20", "NHRN AIC", needs="01"),
    _ai("717", "X..20", "NHRN SRN", needs="01"),
    _ai("7230-7239", "X2 X..28", "CERT", needs="01,8004"),
    _ai("7240", "X..20", "PROTOCOL", needs="01,8006", bars="03"),
    _ai("7241", "N2:media", "AIDC MEDIA TYPE", needs="8017,8018"),
    _ai("7242", "X..25", "VCN", needs="8017,8018"),
    _ai("7250", "N8:date8", "DOB", needs="8018", bars="7251"),
    _ai("7251", "N8:date8 N4:time", "DOB TIME", needs="8018", bars="7250"),
    _ai("7252", "N1:sex", "BIO SEX", needs="8018"),
    _ai("7253", "X..40:escapes", "FAMILY NAME", needs="8017,8018", bars="7256,7259"),
    _ai("7254", "X..40:escapes", "GIVEN NAME", needs="8017,8018", bars="7256,7259"),
    _ai("7255", "X..10", "SUFFIX", needs="8017,8018", bars="7256,7259"),
    _ai("7256", "X..90:escapes", "FULL NAME", needs="8017,8018"),
    _ai("7257", "X..70:escapes", "PERSON ADDR", needs="8018"),
    _ai("7258", "X3:position", "BIRTH SEQUENCE", needs="8018+7259"),
    _ai("7259", "X..40:escapes", "BABY", needs="8018", bars="7256"),
    _ai("8001", "N4:nonzero N5:nonzero N3:nonzero N1:winding N1", "DIMENSIONS", needs="01"),
    _ai("8002", "X..20", "CMT No."),
    _ai("8003", "N1:zero N13:check:company X..16?", "GRAI", key=""),
    _ai("8004", "X..30:company", "GIAI", key="7040"),
    _ai("8005", "N6", "PRICE PER UNIT", needs="01,02"),
    _ai("8006", "N14:check:company2 N4:piece", "ITIP", key="22,10,21", bars="01,03,37"),
    _ai("8007", "X..34:iban", "IBAN", needs="415"),
    _ai("8008", "N6:date N2:hour N2?:minute N2?:second", "PROD TIME", needs="01,02,03"),
    _ai("8009", "X..50", "OPTSEN", needs="00,01,03"),
    _ai("8010", "Y..30:company", "CPID", key="8011"),
    _ai("8011", "N..12:no_leading_zero", "CPID SERIAL", attribute=False, needs="8010"),
    _ai("8012", "X..20", "VERSION", needs="01,03,8006"),
    _ai("8013", "X..25:check_pair:company", "GMN", key=""),
    _ai("8014", "X..25:check_pair:company:letter", "MUDI", attribute=False, needs="01"),
    _ai("8017", "N18:check:company", "GSRN - PROVIDER", key="8019", bars="8018"),
    _ai("8018", "N18:check:company", "GSRN - RECIPIENT", key="8019", bars="8017"),
    _ai("8019", "N..10", "SRIN", attribute=False, needs="8017,8018"),
    _ai("8020", "X..25", "REF No.", attribute=False, needs="415"),
    _ai("8026", "N14:check:company2 N4:piece", "ITIP CONTENT", needs="37", bars="02,03,8006"),
    _ai("8030", "Z..90", "DIGSIG",
        needs="00,01+21,03+21,253,255,8003,8004,8006+21,8010+8011,8017,8018"),
    _ai("8040", "N15", "IMEI", attribute=False, needs="01+21"),
    _ai("8041", "N15", "IMEI2", attribute=False, needs="01+21+8040"),
    _ai("8042", "N32", "ESIM", attribute=False, needs="01+21+8040"),
    _ai("8043", "N18 N..2?", "PSIM", attribute=False, needs="01+21+8040"),
    _ai("8110", "X..70", ""),
    _ai("8111", "N4", "POINTS", needs="255"),
    _ai("8112", "X..70", ""),
    _ai("8200", "X..70", "PRODUCT URL", attribute=False, needs="01"),
    _ai("90", "X..30", "INTERNAL"),
    _ai("91-99", "X..90", "INTERNAL"),
)
# fmt: on

AIS: Mapping[str, Ai] = {ai.ai: ai for row in _ROWS for ai in row}
"""Every AI by its digits."""

KEYS: Mapping[str, Ai] = {ai.ai: ai for ai in AIS.values() if ai.key is not None}
"""The AIs that may be the primary key of a Digital Link."""

_LENGTHS: Mapping[str, int] = {ai[:2]: len(ai) for ai in AIS}


def leading_ai(text: str) -> Ai | None:
    """The AI a text begins with; its first two digits say how long it is."""
    return AIS.get(text[: _LENGTHS.get(text[:2], 0)])


def matches(pattern: str, ai: str) -> bool:
    """Whether `31nn` stands for an AI."""
    stem = pattern.rstrip("n")
    return len(pattern) == len(ai) and ai.startswith(stem)
