"""The DNS face: OIDs (ORS) and GTINs (ONS) as NAPTR records over UDP and TCP."""
