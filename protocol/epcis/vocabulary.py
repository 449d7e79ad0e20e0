"""The words of CBV 2.0: bare word <-> web URI <- old URN (traceability §1.5).

A value of a field may also be any other URI; `expand` then returns it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

CBV: Final = "https://ref.gs1.org/cbv/"
VOC: Final = "https://ref.gs1.org/voc/"
EPCIS: Final = "https://ref.gs1.org/epcis/"
CONTEXT: Final = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"

Family = Literal["production", "logistics", "service", "end-of-life", "other"]


class Vocabulary(NamedTuple):
    """One vocabulary. uri: what stands before a word in its web URI; urn: in its URN, if any."""

    name: str
    uri: str
    urn: str | None
    words: frozenset[str]


def _vocabulary(name: str, uri: str, urn: str | None, words: str) -> Vocabulary:
    return Vocabulary(name, uri, urn, frozenset(words.split()))


BIZ_STEP: Final = _vocabulary(
    "bizStep",
    CBV + "BizStep-",
    "urn:epcglobal:cbv:bizstep:",
    """accepting arriving assembling collecting commissioning consigning creating_class_instance
    cycle_counting decommissioning departing destroying disassembling dispensing encoding
    entering_exiting holding inspecting installing killing loading other packing picking receiving
    removing repackaging repairing replacing reserving retail_selling sampling sensor_reporting
    shipping staging_outbound stock_taking stocking storing transporting unloading unpacking
    void_shipping""",
)
DISPOSITION: Final = _vocabulary(
    "disposition",
    CBV + "Disp-",
    "urn:epcglobal:cbv:disp:",
    """active available completeness_verified completeness_inferred conformant container_closed
    container_open damaged destroyed dispensed disposed encoded expired in_progress in_transit
    inactive mismatch_instance mismatch_class mismatch_quantity needs_replacement no_pedigree_match
    non_conformant non_sellable_other partially_dispensed recalled reserved retail_sold returned
    sellable_accessible sellable_not_accessible stolen unavailable unknown""",
)
BIZ_TRANSACTION: Final = _vocabulary(
    "business transaction type",
    CBV + "BTT-",
    "urn:epcglobal:cbv:btt:",
    "bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt",
)
SOURCE_DEST: Final = _vocabulary(
    "source or destination type",
    CBV + "SDT-",
    "urn:epcglobal:cbv:sdt:",
    "owning_party possessing_party location",
)
ERROR_REASON: Final = _vocabulary(
    "error reason", CBV + "ER-", "urn:epcglobal:cbv:er:", "did_not_occur incorrect_data"
)
COMPONENT: Final = _vocabulary(
    "sensor component",
    CBV + "Comp-",
    None,
    """x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting
    northing latitude longitude altitude""",
)
MEASUREMENT: Final = _vocabulary(
    "measurement type",
    VOC,
    None,
    """AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Radioactivity Altitude
    AmountOfSubstance AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum
    AngularVelocity Area Capacitance Conductance Conductivity Count Density Dimensionless
    DoseEquivalent DoseEquivalentRate DynamicViscosity ElectricCharge ElectricCurrent
    ElectricCurrentDensity ElectricFieldStrength Energy Exposure Force Frequency Illuminance
    Inductance Irradiance KinematicViscosity Length LinearMomentum Luminance LuminousFlux
    LuminousIntensity MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass
    MassConcentration MassFlowRate MassPerAreaTime MemoryCapacity MolalityOfSolute MolarEnergy
    MolarMass MolarVolume Power Pressure RadiantFlux RadiantIntensity RelativeHumidity Resistance
    Resistivity SolidAngle SpecificVolume Speed SurfaceDensity SurfaceTension Temperature Time
    Torque Voltage Volume VolumeFlowRate VolumeFraction VolumetricFlux Wavenumber""",
)
ALERT: Final = _vocabulary("sensor alert type", VOC, None, "ALARM_CONDITION ERROR_CONDITION")

URNS: Final[Mapping[str, Vocabulary]] = {
    vocabulary.urn: vocabulary
    for vocabulary in (BIZ_STEP, DISPOSITION, BIZ_TRANSACTION, SOURCE_DEST, ERROR_REASON)
    if vocabulary.urn
}
"""Vocabulary of each URN prefix."""
_URN_HEAD: Final = "urn:epcglobal:cbv:"
_OLD_VOC: Final = ("https://gs1.org/voc/", "http://gs1.org/voc/", "https://www.gs1.org/voc/")

EVENT_TYPES: Final = (
    "ObjectEvent",
    "AggregationEvent",
    "AssociationEvent",
    "TransactionEvent",
    "TransformationEvent",
)

_PRODUCTION: Final = frozenset(
    (
        "commissioning",
        "creating_class_instance",
        "encoding",
        "assembling",
        "installing",
        "inspecting",
        "packing",
        "repackaging",
    )
)
_SERVICE: Final = frozenset(("repairing", "replacing", "removing", "sensor_reporting", "sampling"))
_END: Final = frozenset(("disassembling", "destroying", "decommissioning", "killing"))
_GONE: Final = frozenset(("disposed", "inactive", "destroyed"))
_IN_USE: Final = frozenset(("active", "in_progress", "retail_sold", "needs_replacement", "damaged"))
_AFTER_SALE: Final = frozenset(("installing", "inspecting"))


def expand(vocabulary: Vocabulary, value: str) -> str:
    """The web URI of a word or of its URN; every other text as it is."""
    if value in vocabulary.words:
        return vocabulary.uri + value
    return from_urn(value)


def from_urn(value: str) -> str:
    """The web URI of a CBV URN of any vocabulary; every other text as it is."""
    if not value.startswith(_URN_HEAD):
        return value
    for urn, vocabulary in URNS.items():
        if value.startswith(urn):
            return vocabulary.uri + value[len(urn) :]
    return value


def word(vocabulary: Vocabulary, value: str) -> str:
    """The bare word of a web URI or URN of this vocabulary; every other text as it is.

    Only words that the vocabulary has: another text would read as one of them.
    """
    uri = expand(vocabulary, value)
    if vocabulary.uri == VOC:
        uri = next((VOC + uri[len(old) :] for old in _OLD_VOC if uri.startswith(old)), uri)
    bare = uri.removeprefix(vocabulary.uri)
    return bare if bare != uri and bare in vocabulary.words else value


def family_of(step: str | None, disposition: str | None, *, transformation: bool = False) -> Family:
    """Which part of a life an event's step belongs to; words, URIs and URNs alike.

    Steps of two families go by the disposition: fitting and inspecting serve an asset in use,
    unpacking ends what is disposed of.
    """
    if transformation:
        return "production"
    bare = word(BIZ_STEP, step) if step else ""
    state = word(DISPOSITION, disposition) if disposition else ""
    if bare in _END or (bare == "unpacking" and state in _GONE):
        return "end-of-life"
    if bare in _SERVICE or (bare in _AFTER_SALE and state in _IN_USE):
        return "service"
    if bare in _PRODUCTION:
        return "production"
    return "logistics" if bare in BIZ_STEP.words and bare != "other" else "other"
