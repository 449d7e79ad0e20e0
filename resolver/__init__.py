"""The running node: lookup, iteration, cache, servers and the command line."""
