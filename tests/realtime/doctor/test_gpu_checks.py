"""GPU, CUDA, TensorRT, PyCUDA and backends, on the stand-ins that keep CUDA's rules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ...fakes.gpu.fake_gpu import World, install
from .conftest import Lab

DPKG = "Package: {}\nStatus: install ok installed\nArchitecture: arm64\nVersion: 10.3.0.30-1+cuda12.5\nDescription: x\n\n"


def test_a_gpu_that_works(lab: Lab, world: World) -> None:
    assert [finding.verdict for finding in lab.look("gpu")] == ["ok", "ok"]
    assert lab.one("gpu", "driver").found.endswith("for programs of CUDA up to 13.0")


def test_no_gpu_is_no_problem(lab: Lab, no_gpu: World) -> None:
    for check in ("gpu", "cuda", "pycuda", "tensorrt"):
        for finding in lab.look(check):
            assert finding.verdict in ("absent", "ok"), finding  # TensorRT-RTX may be installed


def test_a_card_without_a_driver(lab: Lab, no_gpu: World) -> None:
    lab.pci_gpu()
    found = lab.one("gpu", "gpu")
    assert found.verdict == "problem"
    assert "0000:01:00.0" in found.found
    assert found.cure.startswith("sudo ubuntu-drivers install")
    lab.write({"proc/modules": "nouveau 2306048 4 - Live 0x0\n"})
    assert "nouveau" in lab.one("gpu", "gpu").cure
    lab.write({".dockerenv": ""})
    assert lab.one("gpu", "gpu").cure.startswith("docker run --gpus all")


@pytest.mark.parametrize(
    ("code", "cure"),
    [(803, "sudo reboot"), (34, "unset LD_LIBRARY_PATH"), (100, "sudo modprobe nvidia"), (999, "sudo modprobe nvidia")],
)
def test_a_driver_that_does_not_start(lab: Lab, code: int, cure: str) -> None:
    lab.pci_gpu()
    with install(World(init_result=code)):
        found = lab.one("gpu", "gpu")
    assert found.verdict == "problem"
    assert found.cure.startswith(cure)


def test_a_driver_that_is_too_old(lab: Lab) -> None:
    with install(World(driver_version=11080)):
        assert "ubuntu-drivers" in lab.one("gpu", "gpu").cure
        lab.jetson()
        assert lab.one("gpu", "gpu").cure.startswith("sdkmanager "), "apt does not lead from JetPack 5 to 6"


def test_variables_that_hide_the_gpu(lab: Lab, world: World) -> None:
    lab.pci_gpu()
    lab.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64/stubs"}
    cures = [finding.cure for finding in lab.look("gpu") if finding.verdict == "problem"]
    assert cures == ["unset CUDA_VISIBLE_DEVICES", "unset LD_LIBRARY_PATH"]


def test_memory_of_the_card_that_others_use(lab: Lab, world: World) -> None:
    lab.program("nvidia-smi", "echo 7900, 8192")
    assert lab.one("gpu", "gpu memory").verdict == "warning"
    lab.program("nvidia-smi", "echo 100, 8192")
    assert len(lab.look("gpu")) == 2


def test_a_toolkit_that_is_not_on_path(lab: Lab, no_gpu: World) -> None:
    """FastMOT#99, pycuda#361: PyCUDA does not build."""
    lab.pci_gpu()
    lab.write({"usr/local/cuda-12.6/bin/nvcc": ""})
    found = lab.one("cuda", "cuda")
    assert found.verdict == "problem"
    assert found.cure.startswith(f"export PATH={lab.root}/usr/local/cuda-12.6/bin:$PATH")
    assert lab.one("cuda", "compiler").cure.startswith("sudo apt-get install -y g++")


def test_pycuda_that_is_installed_needs_no_toolkit(lab: Lab, world: World) -> None:
    lab.pci_gpu()
    lab.package("pycuda", "2026.1")
    (found,) = lab.look("cuda")
    assert found.verdict == "absent"


def test_an_nvcc_that_leads_to_no_headers(lab: Lab, world: World) -> None:
    """FastMOT#99: cuda.h: no such file. A wrapper on PATH, or a compiler alone."""
    lab.pci_gpu()
    lab.program("nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.88'")
    lab.program("g++")
    assert lab.one("cuda", "cuda.h").cure.startswith("sudo apt-get install -y cuda-toolkit")
    lab.write({"usr/local/cuda-13.0/bin/nvcc": "", "usr/local/cuda-13.0/targets/x86_64-linux/include/cuda.h": ""})
    assert lab.one("cuda", "cuda.h").cure == f"export PATH={lab.root}/usr/local/cuda-13.0/bin:$PATH"
    (lab.programs / "nvcc").unlink()
    lab.environ["CUDA_ROOT"] = "/usr/local/cuda"
    assert "PyCUDA does not read CUDA_ROOT" in lab.one("cuda", "cuda").found


def test_a_toolkit_that_is_newer_than_the_driver(lab: Lab) -> None:
    lab.pci_gpu()
    lab.program("nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.88'")
    with install(World(driver_version=12040)):
        found = [finding for finding in lab.look("cuda") if finding.verdict == "warning"]
    assert found[0].cure.startswith("sudo apt-get install -y cuda-toolkit-12-4")


def test_pycuda_works(lab: Lab, world: World) -> None:
    (found,) = lab.look("pycuda")
    assert found.verdict == "ok"
    assert "compiled for CUDA 13.0" in found.found


def test_pycuda_is_missing_broken_or_of_a_newer_cuda(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.pci_gpu()
    with install(World(has_pycuda=False)):
        found = lab.one("pycuda", "pycuda")
        assert found.verdict == "problem"
        assert found.cure.startswith("export PATH=/usr/local/cuda/bin:$PATH && ")
    with install(World(driver_version=12020)):
        assert lab.one("pycuda", "pycuda").verdict == "warning"
    (tmp_path / "broken/pycuda").mkdir(parents=True)
    (tmp_path / "broken/pycuda/__init__.py").write_text("")
    (tmp_path / "broken/pycuda/driver.py").write_text("raise ImportError('libcurand.so.10: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with install(World(has_pycuda=False)):
        del sys.modules["pycuda"]
        assert "--force-reinstall --no-cache-dir --no-deps pycuda" in lab.one("pycuda", "pycuda").cure


def fake_tensorrt(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """What `installed` finds; the fakes are in sys.modules, where no search for a package looks."""
    monkeypatch.setattr("engines.trt.runtime.installed", lambda: names)


def test_tensorrt_works(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch, "tensorrt")
    lab.package("tensorrt-cu13", "10.13.3.9")
    assert lab.one("tensorrt", "tensorrt").verdict == "ok"


def test_tensorrt_is_missing(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch)
    lab.pci_gpu()
    assert lab.one("tensorrt", "tensorrt").cure.endswith("-m pip install -e '.[tensorrt]'")


def test_on_a_jetson_tensorrt_comes_from_apt(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch)
    lab.jetson()
    assert "nvidia-jetpack" in lab.one("tensorrt", "tensorrt").cure
    lab.write({"var/lib/dpkg/status": DPKG.format("libnvinfer10")})
    assert lab.one("tensorrt", "tensorrt").cure == "sudo apt-get install -y python3-libnvinfer"
    lab.write({"var/lib/dpkg/status": DPKG.format("libnvinfer10") + DPKG.format("python3-libnvinfer")})
    found = lab.one("tensorrt", "tensorrt")
    assert "10.3.0.30-1+cuda12.5" in found.found
    assert "--system-site-packages" in found.cure
    fake_tensorrt(monkeypatch, "tensorrt")
    assert lab.one("tensorrt", "tensorrt").verdict == "ok", "a wheel of JetPack's own, as in containers"
    lab.package("tensorrt-cu12", "10.9")
    found = lab.one("tensorrt", "tensorrt")
    assert found.verdict == "problem"
    assert "pip uninstall -y tensorrt-cu12 && sudo apt-get install -y python3-libnvinfer" in found.cure


def test_what_pip_has_is_not_for_jetsons(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch, "tensorrt-rtx")
    lab.jetson("NVIDIA Jetson AGX Thor Developer Kit")
    lab.package("tensorrt-rtx-cu13", "1.7.1")
    assert "pip uninstall -y tensorrt-rtx-cu13" in lab.one("tensorrt", "tensorrt-rtx").cure
    assert lab.one("tensorrt", "tensorrt").verdict == "problem", "JetPack's is missing as well"
    fake_tensorrt(monkeypatch, "tensorrt")
    lab.package("tensorrt-cu13", "11.4")
    assert lab.one("tensorrt", "tensorrt").verdict == "warning"


def test_tensorrt_for_a_newer_cuda_than_the_drivers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch, "tensorrt")
    lab.package("tensorrt-cu13-libs", "10.13.3.9")
    with install(World(driver_version=12080)):
        found = lab.one("tensorrt", "tensorrt")
    assert found.verdict == "problem"
    assert found.cure.endswith("install tensorrt-cu12")


def test_two_tensorrts_in_one_folder(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch)
    lab.package("tensorrt-cu12", "10.9")
    lab.package("tensorrt-cu13", "10.13")
    assert next(finding.verdict for finding in lab.look("tensorrt")) == "warning"


def test_a_tensorrt_that_is_too_old_or_without_its_libraries(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_tensorrt(monkeypatch, "tensorrt")
    with install(World(tensorrt_version="8.6.1")):
        assert lab.one("tensorrt", "tensorrt").cure.endswith("-m pip install --upgrade tensorrt")
        lab.package("tensorrt-cu12", "8.6.1")
        lab.package("tensorrt-cu12-libs", "8.6.1")
        assert lab.one("tensorrt", "tensorrt").cure.endswith("-m pip install --upgrade tensorrt-cu12")
    lab.package("tensorrt-cu13-bindings", "11.4.0.106")
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with install(World(has_tensorrt=False)):
        del sys.modules["tensorrt"]  # so that the broken one is found; `install` clears up
        assert lab.one("tensorrt", "tensorrt").cure.endswith("-m pip install tensorrt-cu13==11.4.0.106")


def test_versions_without_dla_on_boards_that_have_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch, "tensorrt")
    monkeypatch.setattr("realtime.doctor.tensorrt._origin", lambda name: "apt")
    lab.jetson("NVIDIA Jetson AGX Orin Developer Kit")
    for version, has_note in (("10.3.0", False), ("10.16.1", True), ("11.4.0", True), ("11.4.1", False)):
        with install(World(tensorrt_version=version)):
            assert ("no DLA support" in lab.one("tensorrt", "tensorrt").found) == has_note, version
    lab.jetson()
    with install(World(tensorrt_version="10.16.1")):
        assert "DLA" not in lab.one("tensorrt", "tensorrt").found, "an Orin Nano has none"


def test_tensorrt_rtx_on_a_gpu_that_it_is_not_made_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has wheels for x86-64 alone")
    fake_tensorrt(monkeypatch, "tensorrt-rtx")
    with install(World(compute_capability=(8, 7))):
        found = lab.one("tensorrt", "tensorrt-rtx")
    assert found.verdict == "warning"
    assert "8.7" in found.found
    with install(World(compute_capability=(8, 9))):
        assert lab.one("tensorrt", "tensorrt-rtx").verdict == "ok"


def test_backends_that_a_gpu_could_have(lab: Lab, no_gpu: World) -> None:
    found = {finding.subject: finding for finding in lab.look("backends")}
    assert (found["backend ort"].verdict, found["backend trt"].verdict) == ("ok", "absent")
    lab.pci_gpu()
    found = {finding.subject: finding for finding in lab.look("backends")}
    assert found["backend trt"].verdict == "warning"
    assert found["backend trt"].cure.endswith("run.py doctor gpu cuda tensorrt pycuda")


def test_libraries_that_ort_cuda_lacks(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = lab.packages / "onnxruntime/capi/libonnxruntime_providers_cuda.so"
    provider.parent.mkdir(parents=True)
    provider.write_text("")
    lab.program(
        "ldd", "printf '\\tlibcudnn.so.9 => not found\\n\\tlibcublasLt.so.12 => not found\\n\\tlibm.so.6 => /lib/libm.so.6\\n'"
    )
    monkeypatch.setattr("realtime.doctor.backends._missing", lambda name: "")
    found = lab.one("backends", "ort-cuda libraries")
    assert "libcudnn.so.9, libcublasLt.so.12" in found.found
    for folder, name in (("cudnn", "libcudnn.so.9"), ("cublas", "libcublasLt.so.12")):
        (lab.packages / f"nvidia/{folder}/lib").mkdir(parents=True)
        (lab.packages / f"nvidia/{folder}/lib/{name}").write_text("")
    assert not [finding for finding in lab.look("backends") if finding.subject == "ort-cuda libraries"]


def test_a_path_to_another_tensorrt(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_tensorrt(monkeypatch, "tensorrt")
    (tmp_path / "libnvinfer.so.8").write_text("")
    lab.environ["LD_LIBRARY_PATH"] = f"/usr/lib:{tmp_path}"
    assert [finding.verdict for finding in lab.look("tensorrt")] == ["warning", "ok"]


def test_tensorrt_11_says_where_its_precision_comes_from(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """rf-detr#1453."""
    fake_tensorrt(monkeypatch, "tensorrt")
    with install(World(tensorrt_version="11.4.1")):
        assert "flags for FP16 and INT8 are gone" in lab.one("tensorrt", "tensorrt").found


def test_no_backend_at_all(lab: Lab, no_gpu: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("libonnx.so: undefined symbol")

    for name in ("import_onnxruntime", "import_openvino"):
        monkeypatch.setattr(f"engines.loading.{name}", broken)
    found = lab.look("backends")
    assert found[-1].verdict == "problem"
    assert any("undefined symbol" in finding.found for finding in found)
