"""What users install: the wheel holds every SQL file, byte for byte, and finds it."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from an sdist, as `pip install` of a source tree would."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_the_wheel_holds_every_sql_file(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.removeprefix("audit_ledger/"): archive.read(name)
            for name in archive.namelist()
            if name.endswith(".sql")
        }
    ours = {
        f"{folder}/{path.name}": path.read_bytes()
        for folder in ("schema", "projections")
        for path in (ROOT / folder).glob("*.sql")
    }
    assert ours
    assert inside == ours


def test_an_installed_wheel_finds_its_sql_files(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = f"""
from audit_ledger.store import sql
assert str(sql.folder("schema")).startswith({str(site)!r}), sql.folder("schema")
print(len(sql.schema_files()), len(sql.projection_files()))
"""
    # The dependencies come from the environment of the tests, the package from the wheel.
    path = ":".join([str(site), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    result = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-c", program],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        str(len(list((ROOT / folder).glob("*.sql")))) for folder in ("schema", "projections")
    ]
