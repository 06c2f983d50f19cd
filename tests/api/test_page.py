"""The examples of docs/api.md, run as they stand."""

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


async def test_every_example_works(api):
    text = "".join(re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    commands = [shlex.split(line.removeprefix("$ ")) for line in text.splitlines()]
    assert len(commands) > 10
    for command in commands:
        assert command.pop(0) == "curl"
        method, headers, body, path = "GET", {"content-type": "application/json"}, None, ""
        while command:
            word = command.pop(0)
            if word == "-X":
                method = command.pop(0)
            elif word == "-d":
                body = command.pop(0)
            elif word == "-H":
                name, _, value = command.pop(0).partition(": ")
                headers[name] = value
            else:
                path = word
        answer = await api.http.request(method, path, content=body, headers=headers)
        assert answer.status_code < 300, (path, answer.text)
