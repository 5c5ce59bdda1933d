"""How sessions inherit from [defaults]."""

from typing import Any

from sockjs_bridge.config.fields import is_raw_url
from sockjs_bridge.config.tree import Tree, merge


def inherit(tree: Tree) -> Tree:
    """Lay each session over the defaults. What is not a table stays, for the models to refuse."""
    defaults, sessions = tree.get("defaults"), tree.get("sessions")
    if not isinstance(defaults, dict) or not isinstance(sessions, dict):
        return tree
    return {**tree, "sessions": {name: _heir(defaults, own) for name, own in sessions.items()}}


def _heir(defaults: Tree, own: Any) -> Any:
    if not isinstance(own, dict):
        return own
    # A session has its own URL, and one that ends in /websocket chooses its transport itself.
    unshared = {"url", "transports"} if is_raw_url(own.get("url")) else {"url"}
    return merge({key: value for key, value in defaults.items() if key not in unshared}, own)
