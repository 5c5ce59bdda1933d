"""The network side: shells that carry frames to and from a SockJS server."""
