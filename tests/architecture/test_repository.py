import subprocess
from pathlib import Path

from tests.architecture.survey import ROOT

# Composed, so that this file does not hold what it forbids.
REGISTRIES = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "npm" + "mirror.com",
    "yarn" + "pkg.com",
    "proxy." + "golang.org",
    "crates" + ".io",
    "deb" + "ian.org",
    "pip." + "conf",
    "--extra-" + "index-url",
    "--index" + "-url",
    "--find" + "-links ",
]
MACHINE_PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/op" + "t/", "/tm" + "p/bash", ".py" + "env/"]


def committed() -> list[Path]:
    """What is in the repository or would come into it with the next commit."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def foreign(text: str) -> list[str]:
    """Places that exist on one machine only: the project names none of them."""
    return [word for word in REGISTRIES + MACHINE_PATHS if word in text]


def test_no_committed_file_names_a_registry_or_a_path_of_one_machine():
    found = {str(path.relative_to(ROOT)): foreign(path.read_bytes().decode(errors="replace")) for path in committed()}
    assert {name: words for name, words in found.items() if words} == {}


def test_every_pinned_requirement_has_its_hashes():
    for name in ("requirements.txt", "requirements-dev.txt"):
        pins = (ROOT / name).read_text().replace("\\\n", "").splitlines()
        assert pins
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_a_foreign_place_is_noticed():
    assert foreign("index: https://" + "py" + "pi.org/simple")
    assert foreign("path: /ro" + "ot/project")
    assert foreign("a plain text") == []
