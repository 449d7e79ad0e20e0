"""Lifecycle events (EPCIS 2.0) as the store keeps them: rows, indexes, capture, signatures.

An event is a change of the log like any other: one transaction, a leaf, a receipt. What an event
means is protocol.epcis; who may send one is decided in `writing`; how it is asked for is the
business of resolver.epcis.
"""
