"""HTTP statuses in words that help."""

from http import HTTPStatus


def describe_status(status: int, request: str) -> str:
    """What came back, such as `the server answered 404 Not Found to xhr_send`."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    return f"the server answered {phrase} to {request}"


def hint_on_connecting(status: int) -> str:
    """What the user might look at when the first request of a session is refused; begins with a space."""
    if status == HTTPStatus.NOT_FOUND:
        return " (does the url name the SockJS endpoint, such as http://host/echo?)"
    if status == HTTPStatus.FORBIDDEN:
        return " (a login or an origin may be missing)"
    if HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST:
        return " (redirects are not followed, and a page is no SockJS session)"
    return ""
