"""The admin listener: health, metrics, status, and a page for people."""
