"""The local side: sockets on which other programs join a session."""
