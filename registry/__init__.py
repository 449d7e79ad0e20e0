"""What is true here: records, the changes that made them, rights, prefixes, keys.

Opens files and databases; listens on no port and opens no connection. Imports only `protocol`.
"""
