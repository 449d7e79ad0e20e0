from tests.resolver.http.node_in_process import founded
from tests.resolver.links.shop import shop

__all__ = ["founded", "shop"]
