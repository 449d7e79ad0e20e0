from tests.resolver.epcis.asking import epcis
from tests.resolver.http.node_in_process import founded, served

__all__ = ["epcis", "founded", "served"]
