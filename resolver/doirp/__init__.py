"""The DO-IRP face: UDP, TCP and what both do with a message."""
