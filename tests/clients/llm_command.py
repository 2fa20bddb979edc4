"""`llm`, the command line: a prompt, a stream, a tool, a schema, a conversation that goes on."""

import json
import os
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    os.environ["LLM_USER_PATH"] = folder
    model = {"model_id": "chatllm", "model_name": os.environ["MODEL"], "api_base": os.environ["OPENAI_BASE_URL"]}
    model |= {"supports_tools": True, "supports_schema": True, "api_key_name": "chatllm"}
    (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    (Path(folder) / "keys.json").write_text(json.dumps({"chatllm": os.environ["OPENAI_API_KEY"]}))
    TOOL = 'def get_weather(city: str) -> str:\n    "Tell the weather in a city."\n    return f"Sunny in {city}"\n'

    from click.testing import CliRunner
    from llm.cli import cli

    def llm(*arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments, input="", catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "one two" in llm("-m", "chatllm", "one two")
    assert "one two" in llm("-m", "chatllm", "--no-stream", "one two")
    assert "three four" in llm("-c", "three four")
    assert "Sunny in Paris" in llm("-m", "chatllm", "--functions", TOOL, "What is the weather in 'Paris'?")
    assert json.loads(llm("-m", "chatllm", "--schema", "name, age int", "'Jason' is 25"))["age"] == 25
