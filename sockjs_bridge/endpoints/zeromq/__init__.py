"""ZeroMQ sockets as endpoints of a session."""
