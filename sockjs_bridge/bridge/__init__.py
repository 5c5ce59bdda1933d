"""One session joined to its local endpoints: routing, queueing, supervision."""
