"""The service keeps what its own OpenAPI document says, whatever it is sent (schemathesis)."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from deployments.config import ScriptedModel
from tests.integration.serving import served

CASES_PER_OPERATION = 10
AT_LEAST = 2_000
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth,use_after_free"
)


@pytest.mark.slow
@pytest.mark.timeout(480)
async def test_no_request_makes_the_service_break_its_word(database_url: str, valkey_url: str, tmp_path: Path) -> None:
    async with served(database_url, valkey_url, ScriptedModel(id="quick", kind="scripted", tokens=4)) as service:
        arguments = [
            *("run", f"{service.url}/openapi.json", "--checks", CHECKS, "--no-color"),
            *("--header", f"Authorization: Bearer {service.key}", "--request-timeout", "20"),
            *("--max-examples", str(CASES_PER_OPERATION), "--phases", "examples,coverage,fuzzing", "--no-shrink"),
            *("--seed", "1", "--generation-database", "none", "--continue-on-failure", "--warnings", "off"),
            *("--report", "json", "--report-json-path", str(tmp_path / "report.json")),
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-20_000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["test_cases"]["generated"] >= AT_LEAST
