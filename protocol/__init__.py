"""What things mean: bytes and text to values, and back.

Pure: opens no socket, reads no clock, draws no random number. Imports none of the
project's other packages.
"""
