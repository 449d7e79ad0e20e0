"""A sensor's report in words: what was measured, the figure, the unit as people write it.

Units are those of UN/ECE Recommendation 20, kinds those of the GS1 Web Vocabulary; what is not
listed stands as it was captured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from resolver.pages.words import Words

_MOST_CHARACTERS: Final = 200
_WORD_BREAK: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FIGURES: Final = ("value", "meanValue", "stringValue", "booleanValue", "uriValue")

UNITS: Final[Mapping[str, str]] = {
    "CEL": "°C", "FAH": "°F", "KEL": "K", "P1": "%", "KGM": "kg", "GRM": "g", "TNE": "t",
    "MTR": "m", "CMT": "cm", "MMT": "mm", "KMT": "km", "MTK": "m²", "MTQ": "m³", "LTR": "L",
    "MLT": "mL", "SEC": "s", "MIN": "min", "HUR": "h", "DAY": "d", "PAL": "Pa", "KPA": "kPa",
    "MPA": "MPa", "BAR": "bar", "NEW": "N", "NU": "N·m", "MTS": "m/s", "KMH": "km/h",
    "MSK": "m/s²", "HTZ": "Hz", "RPM": "r/min", "AMP": "A", "VLT": "V", "WTT": "W", "KWT": "kW",
    "KWH": "kWh", "JOU": "J", "LUX": "lx", "DD": "°", "2N": "dB", "59": "ppm",
}  # fmt: skip

_CHINESE: Final[Mapping[str, str]] = {
    "Temperature": "温度", "RelativeHumidity": "相对湿度", "AbsoluteHumidity": "绝对湿度",
    "Pressure": "压力", "Mass": "质量", "Length": "长度", "Volume": "体积", "Speed": "速度",
    "Acceleration": "加速度", "Angle": "角度", "Force": "力", "Torque": "扭矩", "Power": "功率",
    "Energy": "能量", "Voltage": "电压", "ElectricCurrent": "电流", "Frequency": "频率",
    "Illuminance": "照度", "Density": "密度", "Count": "计数", "Time": "时间",
    "Dimensionless": "数值", "MassConcentration": "质量浓度", "Wavenumber": "波数",
}  # fmt: skip


def reading(report: Mapping[str, Any], words: Words) -> str:
    """One sensorReport."""
    figure = next((report[name] for name in _FIGURES if name in report), "")
    unit = str(report.get("uom", ""))
    told = (_kind(str(report.get("type", "")), words), str(figure), UNITS.get(unit, unit))
    return " ".join(filter(None, told))[:_MOST_CHARACTERS]


def _kind(type_: str, words: Words) -> str:
    name = re.split(r"[/:#]", type_)[-1]
    if words.language == "zh" and name in _CHINESE:
        return _CHINESE[name]
    return _WORD_BREAK.sub(" ", name).lower() if name.isalpha() else name
