"""EPCIS 2.0 and CBV 2.0 (ISO/IEC 19987, 19988): events as values. No store, no clock, no network.

Facts and clauses: the traceability digest, which the docstrings name as "traceability §n".
"""
