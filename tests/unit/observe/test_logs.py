import json
import logging
import subprocess
import sys

import pytest
import structlog

from rota.observe import logs


@pytest.fixture(autouse=True)
def put_back():
    root, rota = logging.getLogger(), logging.getLogger("rota")
    before = root.handlers[:], root.level, rota.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    rota.setLevel(before[2])
    structlog.reset_defaults()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_json_with_what_is_known_of_them(capsys):
    logs.configure(style="json", about=lambda: {"run": "r1"})
    with logs.noted(request="q7"):
        logging.getLogger("rota.api").info("served %s in %d ms", "/health", 3)
    structlog.get_logger("rota.x").warning("odd", worker="w")
    first, second = lines(capsys)
    assert first["event"] == "served /health in 3 ms"
    assert (first["run"], first["request"], first["logger"], first["level"]) == ("r1", "q7", "rota.api", "info")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["worker"], second["level"]) == ("odd", "w", "warning")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("postgresql://u:hunter2@h/db is down", "postgresql://u:•••@h/db is down"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer •••"),
        ("rota_key_0123456789abcdef refused", "rota_key_••• refused"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "eyJ•••"),
        ("nothing to hide: 12:30@noon", "nothing to hide: 12:30@noon"),
    ],
)
def test_nothing_that_looks_like_a_secret_is_told(capsys, said, kept):
    logs.configure(style="json")
    logging.getLogger("rota").error("%s", said)
    assert [line["event"] for line in lines(capsys)] == [kept]


def test_secrets_are_not_told_by_name_nor_by_traceback(capsys):
    logs.configure(style="json")
    structlog.get_logger("rota").error("x", password="hunter2", api_key="k", nested={"url": "redis://:canary@h"})
    try:
        raise ValueError("amqp://u:canary@h")
    except ValueError:
        logging.getLogger("rota").exception("failed")
    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert "canary" not in told
    assert "amqp://u:•••@h" in told


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_line_cannot_forge_another(capsys, style):
    logs.configure(style=style)
    logging.getLogger("rota").error('a\n{"event": "forged"}\x1b[31m')
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "\x1b[31m" not in told


def test_a_long_line_is_cut(capsys):
    logs.configure(style="json")
    logging.getLogger("rota").error("eyJ-" * 250_000)
    size = len(capsys.readouterr().err)
    assert size < 10_000


def test_what_tasks_say_is_kept_with_their_runs_alone(capsys):
    working: dict[str, str] = {}
    logs.configure(style="json", about=lambda: working)
    for name in ("rota.task.t", "library"):
        logging.getLogger(name).warning("before")
    working["run"] = "r1"
    for name in ("rota.task.t", "rota.tasks", "library"):
        logging.getLogger(name).warning("within")
    said = [(line["logger"], line["event"], line.get("run")) for line in lines(capsys)]
    assert said == [("rota.task.t", "before", None), ("library", "before", None), ("rota.tasks", "within", "r1")]


def test_fields_go_along_with_a_line(capsys):
    logs.configure(style="json")
    logging.getLogger("rota").warning("served", extra={"ms": 1.5, "address": "a\nb", "color_message": "c"})
    (line,) = lines(capsys)
    assert (line["ms"], line["address"], "color_message" in line) == (1.5, "a\\nb", False)


def test_levels_change_while_it_runs(capsys):
    logs.configure("warn", "json")
    logging.getLogger("rota.x").info("no")
    logs.set_level("info")
    logging.getLogger("rota.x").info("yes")
    logging.getLogger("other").info("never at info")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_debugging_spares_libraries_that_tell_of_every_step(capsys):
    logs.configure("debug", "json")
    for name in ("grpc._cython.cygrpc", "rota", "another"):
        logging.getLogger(name).debug("a step")
    assert capsys.readouterr().err.count("a step") == 2


def test_configured_twice_it_still_tells_once(capsys):
    logs.configure(style="json")
    logs.configure(style="json")
    logging.getLogger("rota").warning("once")
    assert len(lines(capsys)) == 1


def test_a_console_is_for_people(capsys):
    logs.configure(style="console")
    logging.getLogger("rota").warning("hello %s", "there")
    assert "hello there" in capsys.readouterr().err


def test_no_process_pays_for_tracebacks_in_colour():
    program = "import sys; from rota.observe.logs import configure; configure(); print(*sys.modules); import rich"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "structlog" in told
    assert "rich" not in told
