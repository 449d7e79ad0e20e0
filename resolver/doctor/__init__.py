"""Tests a node from outside in: what does not work, and what to mend (`biaoshi doctor`).

`examine()` gives findings in the order they were made: the way in, each face, what the node says
of itself, what its parent says of it, and, where its folder is at hand, the folder.
"""

from __future__ import annotations
