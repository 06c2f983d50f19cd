"""The page that a login link leads to. The code is behind a `#`, which no server, proxy or log ever sees."""

from fastapi import APIRouter, Response

routes = APIRouter(include_in_schema=False)

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Rota</title>
<p id="said">This page logs you in by a login link, and there is none.</p>
<p>Rota has no user interface yet. Who is logged in can look at its API here, at <a href="/api/runs">/api/runs</a> for
instance; in a terminal, <code>rota token</code> prints a key for <code>curl</code>. More: <code>rota --help</code>.
<script src="/login.js"></script></html>
"""
SCRIPT = """const said = document.getElementById("said");
const code = location.hash.slice(1);
history.replaceState(null, "", "/login");
if (code) {
  const headers = { "Content-Type": "application/json" };
  fetch("/api/auth/link", { method: "POST", headers, body: JSON.stringify({ code }) })
    .then((answer) => answer.json())
    .then((told) => { said.textContent = told.user ? `You are logged in as ${told.user}.` : told.detail; });
}
"""


@routes.get("/login")
async def page() -> Response:
    """The page."""
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@routes.get("/login.js")
async def script() -> Response:
    """Its script."""
    return Response(SCRIPT, media_type="text/javascript")
