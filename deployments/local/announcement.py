"""What the launcher tells a person: where everything is, and why a model does not come up."""

from pathlib import Path

from deployments.local.instance import Instance
from deployments.local.page.link import opening_address
from deployments.local.ray.report import RayReport

TEXT = """
  Chat page   {page}
{page_note}  API         {api}/v1
  API key     {key}
              (kept in {key_file}, readable by you alone)
  Dashboard   {dashboard}   (Ray's own, a little later; its token is in {token_file})

  curl {api}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  python3 - <<'PYTHON'
  from openai import OpenAI
  client = OpenAI(base_url="{api}/v1", api_key="{key}")
  answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)
  PYTHON
"""


LINK_NOTE = """\
              (opens it in one browser, once, within an hour; chatllm link prints another)
"""


def text(instance: Instance, key: str, state: Path) -> str:
    """Return the addresses, with a new link to the page, the key, and two ways to call the API, ready to be pasted."""
    return TEXT.format(
        page=opening_address(instance, state) or "not started (--no-page)",
        page_note=LINK_NOTE if instance.page_takes_links else "",
        api=instance.api_url,
        key=key,
        key_file=state / "api.key",
        token_file=state / "ray.token",
        dashboard=instance.dashboard_url,
        model=instance.model,
    )


def failure(report: RayReport) -> str:
    """Return one sentence on why the service did not come up."""
    if report.phase == "failed":
        return f"Ray ended: {report.error}"
    for name, deployment in report.deployments.items():
        if deployment.reason:
            return f"{name} did not start: {deployment.reason}"
    for name, deployment in report.deployments.items():
        if deployment.status != "HEALTHY" and deployment.message:
            return f"{name} did not start: {reason(deployment.message)}"
    return f"the service did not start: {reason(report.message)}"


def reason(message: str) -> str:
    """Return the last telling line of a message that may hold a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason was given")[:500]
