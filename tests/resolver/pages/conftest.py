from tests.resolver.epcis.asking import epcis
from tests.resolver.http.node_in_process import founded, served
from tests.resolver.pages.works import works

__all__ = ["epcis", "founded", "served", "works"]
