"""sockjs-bridge: keeps SockJS sessions alive and joins local programs to them."""

__version__ = "0.1.0"
