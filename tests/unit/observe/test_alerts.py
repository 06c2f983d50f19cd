"""The scrape configuration and the alert rules that come with Rota speak of metrics that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rota.cli.read import grant
from rota.observe.metrics import GAUGES, Metrics

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
OURS = re.compile(r"\b(?:rota|task)_\w+")


def read(name):
    return yaml.safe_load((FOLDER / name).read_text())


def known():
    names = {f"rota_{name}" for name in GAUGES}
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def rules():
    return [rule for group in read("alerts.yml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_speaks_of_metrics_that_there_are(rule):
    assert set(OURS.findall(rule["expr"])) <= known()
    assert OURS.findall(rule["expr"]) or rule["expr"].startswith("up{")
    assert {"summary", "description"} == rule["annotations"].keys()
    assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_sample_rule_is_there():
    (found,) = (rule for rule in rules() if rule["expr"] == "rate(task_failures_total[5m]) > 0.1")
    assert found["for"] == "10m"


def test_the_api_is_scraped_with_a_credential():
    api, _ = read("prometheus.yml")["scrape_configs"]
    assert api["metrics_path"] == "/metrics"
    assert api["authorization"].keys() == {"type", "credentials_file"}


@pytest.mark.parametrize("page", [FOLDER / "prometheus.yml", FOLDER.parents[1] / "docs" / "observability.md"])
def test_the_command_that_makes_it_is_understood(page):
    (said,) = re.findall(r"rota tokens add prometheus --grant (\S+)", page.read_text())
    assert grant(said) == {"role": "viewer", "namespace": "*"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_agrees():
    for check, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            ["promtool", "check", check, *(["--syntax-only"] if check == "config" else []), FOLDER / name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
