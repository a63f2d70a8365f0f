# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What packaging/ has is taken by those that it is for: manifests by Kubernetes' own schemas, as
the package kubernetes-validate publishes them, and configurations by memwho."""
import subprocess
import sys

import pytest

import engines
from conftest import SOURCE, run_memwho

MANIFEST = SOURCE / "packaging" / "kubernetes" / "memwho.yaml"


@pytest.fixture(scope="module")
def kubernetes():
    """The validator and a YAML reader, in a folder of the build."""
    folder = engines.FOLDER / "kubernetes"
    if not (folder / "kubernetes_validate").exists():
        folder.mkdir(parents=True, exist_ok=True)
        p = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                            "--target", folder, "kubernetes-validate"], capture_output=True, text=True, timeout=100)
        if p.returncode:
            pytest.skip(f"cannot install kubernetes-validate: {p.stderr.strip()[-300:]}")
    sys.path.insert(0, str(folder))
    import kubernetes_validate  # pylint: disable=C0415,E0401
    import yaml                 # pylint: disable=C0415,E0401
    yield kubernetes_validate, yaml
    sys.path.remove(str(folder))


def test_kubernetes_takes_the_manifests(kubernetes):
    validator, yaml = kubernetes
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    assert sorted(d["kind"] for d in documents) == ["ConfigMap", "DaemonSet", "Namespace", "Service"]
    for version in ("1.25", validator.latest_version()):
        for document in documents:
            validator.validate(document, version, strict=True)
    broken = next(d for d in documents if d["kind"] == "DaemonSet")
    broken["spec"]["template"]["spec"]["hostPid"] = True  # it is hostPID: strict means strict
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, validator.latest_version(), strict=True)


def test_memwho_takes_its_configuration(kubernetes, tmp_path):
    _, yaml = kubernetes
    config = next(d for d in yaml.safe_load_all(MANIFEST.read_text()) if d["kind"] == "ConfigMap")
    path = tmp_path / "memwho.conf"
    path.write_text(config["data"]["memwho.conf"])
    said = run_memwho("serve", "--check", path)
    assert "1 targets, 2 triggers, 1 pushes" in said.out + said.err
