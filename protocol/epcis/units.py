"""Units of measure (UN/ECE Recommendation 20) that tell of one quantity, and their exact factors.

A table of our own for what sensors and scales report. Only units with an exact definition stand in
it: no survey acres, no months. Newton metres are no joules, and litres no kilograms; a unit that is
not here compares with itself alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

QUANTITIES: Final[Mapping[str, str]] = {
    "temperature": "KEL 1; CEL 1 + 273.15; FAH 5/9 + 45967/180; A48 5/9",
    "length": "MTR 1; DMT .1; CMT .01; MMT .001; 4H 1e-6; C45 1e-9; C52 1e-12; A11 1e-10;"
    "KMT 1e3; HMT 100; A45 10; INH .0254; FOT .3048; YRD .9144; AK 1.8288; SMI 1609.344; NMI 1852",
    "area": "MTK 1; DMK .01; CMK 1e-4; MMK 1e-6; KMK 1e6; HAR 1e4; ARE 100;"
    "INK .00064516; FTK .09290304; YDK .83612736; MIK 2589988.110336",
    "volume": "MTQ 1; DMQ .001; CMQ 1e-6; MMQ 1e-9; LTR .001; HLT .1; A44 .01; DLT 1e-4; CLT 1e-5;"
    "MLT 1e-6; 4G 1e-9; K6 1; INQ 16.387064e-6; FTQ .028316846592; YDQ .764554857984;"
    "GLL 3.785411784e-3; QTL .946352946e-3; PTL .473176473e-3; OZA 29.5735295625e-6;"
    "GLI 4.54609e-3; QTI 1.1365225e-3; PTI .56826125e-3; OZI 28.4130625e-6; BLL .158987294928",
    "mass": "KGM 1; GRM .001; MGM 1e-6; MC 1e-9; HGM .1; DJ .01; DG 1e-4; CGM 1e-5; DTN 100;"
    "TNE 1e3; 2U 1e3; KTN 1e6; LBR .45359237; ONZ .028349523125; STN 907.18474; LTN 1016.0469088;"
    "CWA 45.359237; CWI 50.80234544; STI 6.35029318; GRN 64.79891e-6; APZ .0311034768; CTM 2e-4",
    "density": "KMQ 1; A93 .001; GP 1e-6; GQ 1e-9; 23 1e3; GL 1; M1 .001; B35 1e3",
    "pressure": "PAL 1; KPA 1e3; MPA 1e6; A89 1e9; A97 100; 74 .001; B96 1e-6; BAR 1e5; MBR 100;"
    "ATM 101325; ATT 98066.5; UA 101325/760; HN 133.322387415; PS 44482216152605/6451600000",
    "time": "SEC 1; C26 .001; B98 1e-6; C47 1e-9; B52 1e3; MIN 60; HUR 3600; DAY 86400; WEE 604800",
    "speed": "MTS 1; C16 .001; 2M .01; 2X 1/60; KMH 5/18; KNT 1852/3600; HM .44704; FS .3048;"
    "FR .00508; IU .0254",
    "acceleration": "MSK 1; K40 9.80665; A76 .01; C11 1e-5",
    "force": "NEW 1; B47 1e3; B73 1e6; C20 .001; DU 1e-5; B37 9.80665; B51 9.80665;"
    "C78 4.4482216152605",
    "torque": "NU 1; B48 1e3; B74 1e6; D83 .001",
    "energy": "JOU 1; KJO 1e3; 3B 1e6; GV 1e9; C15 .001; WHR 3600; KWH 3.6e6; MWH 3.6e9;"
    "GWH 3.6e12; A53 1.602176634e-19; D70 4.1868; E14 4186.8; D35 4.184; K53 4184",
    "power": "WTT 1; KWT 1e3; MAW 1e6; A90 1e9; C31 .001; D80 1e-6; HJ 735.49875",
    "apparent power": "D46 1; KVA 1e3; MVA 1e6",
    "reactive power": "D44 1; KVR 1e3; MAR 1e6",
    "voltage": "VLT 1; KVT 1e3; B78 1e6; 2Z .001; D82 1e-6",
    "current": "AMP 1; B22 1e3; 4K .001; B84 1e-6; C39 1e-9; C70 1e-12",
    "resistance": "OHM 1; B49 1e3; B75 1e6; A87 1e9; E45 .001; B94 1e-6",
    "capacitance": "FAR 1; C10 .001; 4O 1e-6; C41 1e-9; 4T 1e-12",
    "inductance": "81 1; C14 .001; B90 1e-6",
    "electric charge": "COU 1; AMH 3600; E09 3.6",
    "magnetic flux density": "D33 1; C29 .001; D81 1e-6",
    "frequency": "HTZ 1; KHZ 1e3; MHZ 1e6; A86 1e9; D29 1e12",
    "rotation": "RPS 1; RPM 1/60",
    "angle": "DD 1; D61 1/60; D62 1/3600; A91 .9",
    "illuminance": "LUX 1; KLX 1e3",
    "radioactivity": "BQL 1; 2Q 1e3; 4N 1e6; GBQ 1e9; CUR 3.7e10; MCU 3.7e7",
    "absorbed dose": "A95 1; C13 .001",
    "equivalent dose": "D13 1; C28 .001",
    "ratio": "P1 .01; NX .001; 59 1e-6; 61 1e-9",
    "concentration": "C36 1; C38 1e3; M33 1",
    "volume flow": "MQS 1; MQH 1/3600; G51 .001; L2 1/60000; E32 1/3600000",
    "mass flow": "KGS 1; F31 1/60; E93 1/3600",
    "viscosity": "C65 1; C24 .001; 89 .1; C7 .001",
}
"""Quantity -> codes, each with what one of it is in SI units; `+`: what its zero is there."""


class Unit(NamedTuple):
    """What a number of this unit is in that of its quantity: number x scale + zero."""

    quantity: str
    scale: Fraction
    zero: Fraction = Fraction(0)


def _table() -> Mapping[str, Unit]:
    table: dict[str, Unit] = {}
    for quantity, codes in QUANTITIES.items():
        for entry in codes.split(";"):
            code, _, scale = entry.strip().partition(" ")
            scale, _, zero = scale.partition(" + ")
            table[code] = Unit(quantity, Fraction(scale), Fraction(zero or "0"))
    return MappingProxyType(table)


UNITS: Final = _table()
"""Code -> unit."""


def convert(number: Decimal, code: str, to: str, *, interval: bool = False) -> Fraction | None:
    """A number of one unit in another, exactly; None where they are not of one quantity.

    interval: a difference, such as a standard deviation: where the zeros lie does not count.
    """
    if code == to:
        return Fraction(number)
    source, target = UNITS.get(code), UNITS.get(to)
    if source is None or target is None or source.quantity != target.quantity:
        return None
    zero = Fraction(0) if interval else source.zero - target.zero
    return (Fraction(number) * source.scale + zero) / target.scale
