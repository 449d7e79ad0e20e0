"""Moving from a running Handle.Net primary: its dump, its transactions, and the comparison.

primary: the connection, authentication and the streams. changes: what a dump or a transaction
means here. compare: counts and digests of both sides. The commands are resolver.commands.import_.
"""
