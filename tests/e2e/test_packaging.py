# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What packaging/ has is taken by those that it is for: manifests by Kubernetes' own schemas, as
the package kubernetes-validate publishes them, and configurations by memwho."""
import json
import pathlib
import re
import subprocess
import sys

import pytest

import engines
from conftest import BUILD, SOURCE, run_memwho

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


def packages_of(libraries):
    """{file: its Debian package} of shared libraries; those of no package are left out."""
    p = subprocess.run(["dpkg", "-S", *(f"*/{pathlib.Path(x).name}" for x in libraries)], capture_output=True, text=True)
    by_path = {path.removeprefix("/usr"): package.split(":")[0]
               for package, _, path in (line.partition(": ") for line in p.stdout.splitlines())}
    return {x: by_path[x.removeprefix("/usr")] for x in libraries if x.removeprefix("/usr") in by_path}


def with_dependencies(packages):
    """And all that these depend on, of what is installed here."""
    p = subprocess.run(["dpkg-query", "-W", "-f", "${Package}|${Depends},${Pre-Depends}\n"], capture_output=True, text=True,
                       check=True)
    depends = {}
    for line in p.stdout.splitlines():
        name, _, text = line.partition("|")
        depends[name] = {re.split(r"[ :(|]", word.strip())[0] for word in text.split(",") if word.strip()}
    found, todo = set(), list(packages)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += depends.get(name, ())
    return found


def test_the_image_has_what_the_programs_need():
    """The recipe's own words against what the linker wants. (./dev matrix image builds it.)"""
    recipe = (SOURCE / "packaging" / "container" / "Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split(None, 1) for line in recipe.splitlines() if line.strip() and not line.startswith("#")]
    assert {word for word, _ in steps} <= {"FROM", "COPY", "WORKDIR", "RUN", "ENTRYPOINT"}
    assert [rest for word, rest in steps if word == "FROM"] == ["debian:bookworm AS build", "debian:bookworm-slim"]
    copied = next(rest.split() for word, rest in steps if word == "COPY" and rest.startswith("--from=build"))
    assert copied[1:] == ["/src/build/memwho", "/src/build/memwho-serve", "/usr/local/bin/"]
    assert json.loads(next(rest for word, rest in steps if word == "ENTRYPOINT")) == ["/usr/local/bin/memwho"]
    if "bookworm" not in pathlib.Path("/etc/os-release").read_text():
        pytest.skip("the packages are those of Debian 12")
    # the second stage's; the first one has what builds it
    install = [rest for word, rest in steps if word == "RUN" and "no-install-recommends" in rest][-1]
    named = re.search(r"--no-install-recommends (.*?) (?:>|&&)", install)[1].split()
    there = with_dependencies(named)
    needed = set()
    for program in ("memwho", "memwho-serve"):
        out = subprocess.run(["ldd", BUILD / program], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"=> (/\S+) \(", out))
    owners = packages_of(sorted(needed))
    assert len(owners) > 20 and not {f"{x}: {package}" for x, package in owners.items() if package not in there}
