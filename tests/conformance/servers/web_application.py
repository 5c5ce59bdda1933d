"""A chat for those who have logged in: a form with a CSRF token, a session cookie, and SockJS behind it.

`POST /expire`, which a browser does not know of, ends all logins, and tells the chat so.
"""

import json
import secrets

import sockjs
from aiohttp import web

PASSWORDS = {"bridge": "hunter22"}
COOKIE = "app_session"

logins = {}
"""By the cookie: the CSRF token that the form has to repeat, the user, and the key for the chat."""
chatting = {}


async def csrf(request):
    cookie = secrets.token_hex()
    logins[cookie] = {"csrf": secrets.token_hex(), "user": None, "key": None}
    response = web.json_response({"token": logins[cookie]["csrf"]})
    response.set_cookie(COOKIE, cookie, httponly=True)
    return response


async def login(request):
    before = logins.get(request.cookies.get(COOKIE))
    form = await request.post()
    if before is None or form.get("_csrf") != before["csrf"]:
        raise web.HTTPForbidden
    if PASSWORDS.get(form.get("username")) != form.get("password"):
        raise web.HTTPUnauthorized
    # A new cookie with the login, as applications do against fixed sessions.
    del logins[request.cookies[COOKIE]]
    cookie = secrets.token_hex()
    logins[cookie] = {"csrf": None, "user": form["username"], "key": secrets.token_hex()}
    # Browsers are sent on, programs get a plain answer.
    is_browser = "application/json" not in request.headers.get("Accept", "")
    response = web.Response(status=302, headers={"Location": "/"}) if is_browser else web.Response(status=204)
    response.set_cookie(COOKIE, cookie, httponly=True)
    return response


async def whoami(request):
    known = logins.get(request.cookies.get(COOKIE))
    if known is None or known["user"] is None:
        raise web.HTTPUnauthorized
    return web.json_response({"user": known["user"], "key": known["key"]})


async def expire(_request):
    logins.clear()
    for session in list(chatting):
        chatting[session] = None
        session.send('{"type":"session-expired"}')
    return web.Response(status=204)


@web.middleware
async def guard(request, handler):
    """Let nobody into the chat who is not logged in; `/info` too, as a filter on the path does."""
    if request.path.startswith("/chat/"):
        await whoami(request)
    return await handler(request)


async def chat(_manager, session, msg):
    if msg.type == sockjs.MsgType.OPEN:
        chatting[session] = None
    elif msg.type == sockjs.MsgType.MESSAGE:
        take(session, json.loads(msg.data))
    else:
        chatting.pop(session, None)


def take(session, message):
    if message["type"] == "hello":
        if not any(message["key"] == known["key"] for known in logins.values()):
            session.close(4003, "wrong key")
            return
        chatting[session] = message["user"]
        session.send(json.dumps({"type": "welcome", "user": message["user"]}, separators=(",", ":")))
    elif chatting[session] is None:
        session.send('{"type":"error","reason":"who are you?"}')
    else:
        said = {"type": "said", "user": chatting[session], "text": message["text"]}
        for one in chatting:
            one.send(json.dumps(said, separators=(",", ":")))


def add_application(app):
    app.middlewares.append(guard)
    app.router.add_get("/api/csrf", csrf)
    app.router.add_post("/login", login)
    app.router.add_get("/api/session", whoami)
    app.router.add_post("/expire", expire)
