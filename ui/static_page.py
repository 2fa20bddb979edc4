"""Pages without a socket: plain HTML with a strict content security policy, for visitors who are not signed in."""

from html import escape

from starlette.responses import HTMLResponse

from ui.i18n import language
from ui.theme import FAVICON_LINK, THEME_HASH, head

SCRIPTS = ("page.js",)
# Only the page's own files and the one script with this hash may run.
_POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{THEME_HASH}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action {forms}; "
    "frame-ancestors 'none'"
)


def static_page(title: str, body: str, status: int = 200, *, has_form: bool = False) -> HTMLResponse:
    """Return a whole page around `body`, which is HTML; the language is that of `texts`. It is never stored.

    With a form a browser has to say where it was sent from: the policy on referrers lets it,
    on the way to this origin alone.
    """
    html = (
        f'<!doctype html><html lang="{language()}" data-plain><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title>{FAVICON_LINK}{head(SCRIPTS)}</head><body>{body}</body></html>"
    )
    headers = {
        "cache-control": "no-store",
        "content-security-policy": _POLICY.format(forms="'self'" if has_form else "'none'"),
        "referrer-policy": "same-origin" if has_form else "no-referrer",
        "x-robots-tag": "noindex, nofollow, noarchive",
    }
    return HTMLResponse(html, status, headers)
