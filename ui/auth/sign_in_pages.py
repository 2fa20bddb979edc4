"""What the sign-in looks like: plain HTML, for browsers that have no socket yet."""

import math
from html import escape

from starlette.responses import Response

from ui.auth.session_middleware import SIGN_IN
from ui.i18n import t
from ui.static_page import static_page

MIN_PASSWORD = 10  # the service's own bound


def sign_in_page(
    path: str,
    wrong: str = "",
    status: int = 200,
    retry_after_s: float = 0,
    notice: str = "",
    username: str = "",
    *,
    by_key: bool = False,
) -> Response:
    """Return the page with both ways to sign in: with a username and password, and with an API key.

    `wrong` says what was wrong with the last attempt, which was made `by_key` or with the username given.
    """
    flaw = bool(wrong) and not by_key
    password = _field(t("Username"), "username", "text", "username", value=username, is_wrong=flaw, is_first=not by_key)
    password += _field(t("Password"), "password", "password", "current-password", is_wrong=flaw)
    flaw = bool(wrong) and by_key
    key = _field(t("API key"), "key", "password", "off", hint="sk-chatllm-…", is_wrong=flaw, is_first=by_key)
    body = f"""<main class="sign-in"><div class="sign-in-card"><div class="sign-in-head">
<span class="mark large" aria-hidden="true"></span><h1>{escape(t("Sign in"))}</h1></div>{_notes(wrong, notice)}
{_form(path, password, t("Sign in"))}
<p class="sign-in-or"><span>{escape(t("or"))}</span></p>
{_form(path, key, t("Sign in with an API key"), "quiet")}
</div></main>"""
    response = static_page(t("Sign in"), body, status, has_form=True)
    if retry_after_s:
        response.headers["retry-after"] = str(math.ceil(retry_after_s))
    return response


def change_page(path: str, username: str, wrong: str = "", status: int = 200, about: str = "") -> Response:
    """Return the page that asks for a new password, because it must be changed unless `about` says otherwise."""
    about = about or t("Your password was given to you by an administrator. Choose one that only you know.")
    fields = f'<input type="hidden" name="username" value="{escape(username)}">'
    fields += _field(
        t("Current password"), "password", "password", "current-password", is_wrong=bool(wrong), is_first=True
    )
    fields += _field(t("New password"), "new_password", "password", "new-password", minimum=MIN_PASSWORD)
    body = f"""<main class="sign-in"><div class="sign-in-card"><div class="sign-in-head">
<span class="mark large" aria-hidden="true"></span><h1>{escape(t("Choose a new password"))}</h1>
<p>{escape(about)}</p></div>{_notes(wrong, "")}
{_form(path, fields, t("Change the password and sign in"))}
<p class="sign-in-note">{escape(t("At least {count} characters.", count=MIN_PASSWORD))}</p>
</div></main>"""
    return static_page(t("Choose a new password"), body, status, has_form=True)


def _notes(wrong: str, notice: str) -> str:
    note = f'<p class="sign-in-wrong" id="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return note + (f'<p class="sign-in-notice" role="status">{escape(notice)}</p>' if notice else "")


def _form(path: str, fields: str, button: str, style: str = "") -> str:
    return f"""<form class="sign-in-form" method="post" action="{SIGN_IN}">{fields}
<input type="hidden" name="next" value="{escape(path)}">
<button class="button {style}" type="submit">{escape(button)}</button></form>"""


def _field(
    label: str,
    name: str,
    kind: str,
    autocomplete: str,
    *,
    value: str = "",
    hint: str = "",
    minimum: int = 0,
    is_wrong: bool = False,
    is_first: bool = False,
) -> str:
    more = ' aria-invalid="true" aria-describedby="wrong"' if is_wrong else ""
    more += " autofocus" if is_first else ""
    more += f' minlength="{minimum}"' if minimum else ""
    more += f' placeholder="{escape(hint)}"' if hint else ""
    return f"""<label class="field"><span class="field-name">{escape(label)}</span>
<input class="plain-input" type="{kind}" name="{name}" value="{escape(value)}" required autocomplete="{autocomplete}"
 autocapitalize="off" spellcheck="false"{more}></label>"""
