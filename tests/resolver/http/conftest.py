from tests.resolver.http.node_in_process import founded, served

__all__ = ["founded", "served"]
