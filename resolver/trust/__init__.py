"""Trust from outside: following, checking and cosigning the log of a node."""
