"""The EPCIS 2.0 REST binding under /epcis/ (spec/traceability.md §3).

What an event means is protocol.epcis, where it lies registry.events; here are resources, headers,
jobs, answers and subscriptions.
"""
