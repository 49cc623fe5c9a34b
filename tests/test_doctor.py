"""The doctor finds what is wrong, says how to mend it, and never falls ill itself."""

import subprocess
import sys
from importlib import metadata

import pytest

from geocamnet import doctor
from geocamnet.doctor import Finding, examine


@pytest.fixture
def versions(monkeypatch):
    """Return a dict that stands for what is installed; packages set to None are not."""
    wanted: dict[str, str | None] = {}
    real = metadata.version

    def version(name):
        if name not in wanted:
            return real(name)
        if wanted[name] is None:
            raise metadata.PackageNotFoundError(name)
        return wanted[name]

    stated = ["numpy>=1.26", "pillow>=10.3", "opencv-python>=5", "onnxruntime>=1.18"]
    stated += [f"{name}; extra == 'train'" for name in ("torch>=2.5", "timm>=1.0", "lightning<3,>=2.6.4")]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: stated)
    monkeypatch.setattr(doctor.metadata, "version", version)
    return wanted


def found(name):
    (one,) = [finding for finding in examine() if finding.name == name]
    return one


def test_every_finding_has_a_name_and_a_detail_and_what_is_wrong_has_a_fix():
    findings = examine()
    assert len({one.name for one in findings}) == len(findings)
    for one in findings:
        assert isinstance(one, Finding)
        assert one.name
        assert one.detail
        assert one.ok or one.fix


def test_the_base_packages_are_those_the_package_states():
    names = {one.name for one in examine()}
    assert {"numpy", "pillow", "onnxruntime", "OpenCV", "Python"} <= names
    assert "torch" not in names


def test_a_missing_package_is_told_with_the_line_that_installs_it(versions):
    versions["pillow"] = None
    assert found("pillow") == Finding("pillow", False, "not installed", "pip install 'pillow>=10.3'")


def test_a_package_too_old_is_told(versions):
    versions["numpy"] = "1.9.1"
    one = found("numpy")
    assert not one.ok
    assert one.detail == "1.9.1 is older than 1.26"
    assert one.fix == "pip install --upgrade 'numpy>=1.26'"


@pytest.mark.parametrize("version", ["1.26", "1.26.0", "1.26.0rc1", "2.0+cpu", "10.0"])
def test_a_package_new_enough_is_fine(versions, version):
    versions["numpy"] = version
    assert found("numpy").ok


def test_another_onnx_runtime_stands_in(versions):
    versions |= {"onnxruntime": None, "onnxruntime-gpu": "1.20.0"}
    assert found("onnxruntime") == Finding("onnxruntime", True, "1.20.0")


def test_two_opencv_packages_at_once_are_told(versions):
    versions["opencv-python-headless"] = "5.0.0.93"
    one = found("OpenCV")
    assert not one.ok
    assert "overwrite each other" in one.detail
    assert "pip uninstall -y opencv-python opencv-python-headless && pip install 'opencv-python>=5'" in one.fix


def test_no_opencv_at_all_is_told(versions):
    versions |= dict.fromkeys(doctor._OPENCV)
    one = found("OpenCV")
    assert (one.ok, one.detail, one.fix) == (False, "not installed", "pip install 'opencv-python>=5'")


def test_an_opencv_without_windows_is_a_note_and_no_failure(versions):
    versions |= {"opencv-python": None, "opencv-python-headless": "5.0.0.93"}
    one = found("OpenCV")
    assert one.ok
    assert "without windows" in one.detail
    assert "camera" in one.fix


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_a_compromised_lightning_is_told(versions, version):
    versions["lightning"] = version
    one = found("Compromised lightning")
    assert not one.ok
    assert "GHSA-w37p-236h-pfx3" in one.detail
    assert "lightning>=2.6.4,<3" in one.fix


@pytest.mark.parametrize("version", ["2.6.4", "2.6.1", None])
def test_other_lightnings_are_not(versions, version):
    versions["lightning"] = version
    assert found("Compromised lightning").ok


def test_without_pytorch_training_is_a_note_with_the_line_that_installs_it(versions):
    versions |= dict.fromkeys(["torch", "timm", "lightning"])
    one = found("Training")
    assert one.ok
    assert "only training needs it" in one.detail
    assert "pip install 'geocamnet[train]'" in one.fix


def test_half_an_installation_for_training_is_told(versions):
    versions |= {"torch": "2.9.0", "timm": None, "lightning": "1.0"}
    one = found("Training")
    assert not one.ok
    assert "missing: timm" in one.detail
    assert "lightning 1.0 (needs 2.6.4)" in one.detail


def test_no_bundled_student_is_no_failure(monkeypatch):
    from geocamnet.errors import ModelError
    from geocamnet.runtime import model

    def none():
        raise ModelError("none")

    monkeypatch.setattr(model, "bundled_student", none)
    one = found("Bundled student")
    assert one.ok
    assert one.detail == "none bundled"


def test_a_bundled_student_is_opened_and_told(monkeypatch, student_file, tiny_card):
    from geocamnet.runtime import model

    monkeypatch.setattr(model, "bundled_student", lambda: student_file)
    assert found("Bundled student") == Finding("Bundled student", True, tiny_card.summary)


def test_a_bundled_student_that_is_damaged_is_told(monkeypatch, tmp_path):
    from geocamnet.runtime import model

    (tmp_path / "student.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(model, "bundled_student", lambda: tmp_path / "student.onnx")
    one = found("Bundled student")
    assert not one.ok
    assert "not an ONNX model" in one.detail


def test_a_temporary_folder_that_can_not_be_written_is_told(monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", full)
    one = found("Temporary folder")
    assert not one.ok
    assert "No space left" in one.detail


def test_little_disk_space_and_memory_are_told(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: 3e8)
    assert not found("Free disk space").ok
    assert not found("Cores and memory").ok


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display of their own")
def test_a_display_is_looked_for_in_the_environment(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "none" in found("Display").detail
    monkeypatch.setenv("DISPLAY", ":7")
    assert found("Display") == Finding("Display", True, "DISPLAY=:7")


def test_pytorch_is_imported_only_when_asked():
    code = (
        "import sys; from geocamnet.doctor import examine; examine(); "
        "assert not {'torch', 'lightning', 'timm', 'onnx', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_package_run_from_its_source_tree_is_examined_too(monkeypatch):
    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", not_installed)
    assert found("numpy").ok
