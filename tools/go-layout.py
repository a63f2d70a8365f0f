#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the values of src/runtime/go/go_layout_fields.inc: for each column of
go_layout.c build a small program with that Go (from the Go module proxy) and ask
its DWARF. `tools/go-layout.py BUILD`; with --check only say what differs, for all
patch releases named below, too; with --arm64 write what differs there from that
file into go_layout_arm64.inc."""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
FIELDS = SOURCE / "src/runtime/go/go_layout_fields.inc"
ARM64 = SOURCE / "src/runtime/go/go_layout_arm64.inc"
COLUMN = re.compile(r"\{ \d+, \w+, \"(\w*)\" \}, +/\* go([0-9.]+) \*/")
# first and last patch releases, checked against the table
CHECKED = """1.17 1.17.13 1.18 1.18.1 1.18.2 1.18.10 1.19 1.19.2 1.19.4 1.19.13 1.20 1.20.14 1.21.0 1.21.13 1.22.0 1.22.12
    1.23.0 1.23.1 1.23.2 1.23.3 1.23.6 1.23.11 1.23.12 1.24.0 1.24.3 1.24.5 1.24.6 1.24.13 1.25.0 1.25.14 1.26.0
    1.26.1""".split()

# refers to what the linker would leave out of the DWARF of a program that does not use it
PROGRAM = {
    0: """package main
import ("fmt"; "net"; "os"; "os/signal"; "runtime"; "runtime/pprof"; "sync"; "time")
type t struct { a [4]*int; m map[string]interface{} }
var pool sync.Pool
func main() {
    x := &t{m: map[string]interface{}{}}
    runtime.SetFinalizer(x, func(*t) {})
    pprof.WriteHeapProfile(os.Stderr)
    signal.Notify(make(chan os.Signal))
    time.AfterFunc(time.Hour, func() { panic(x) })
    l, _ := net.Listen("tcp", "127.0.0.1:0")
    defer fmt.Println(l, pool.Get(), recover())
    more()
}
""",
    17: "package main\nfunc more() {}\n",
    21: 'package main\nimport "runtime"\nfunc more() { new(runtime.Pinner).Pin(new(int)) }\n',
    24: """package main
import ("runtime"; "unique"; "weak")
func more() {
    x := new([3]int)
    new(runtime.Pinner).Pin(x)
    runtime.AddCleanup(x, func(int) {}, 1)
    println(weak.Make(x).Value(), unique.Make("x").Value())
}
""",
}


def own_version():
    return subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, cwd="/").stdout.strip()[2:]


def goroot(version):
    """None: the machine's own."""
    if version == own_version():
        return None
    p = subprocess.run(["go", "mod", "download", "-json", f"golang.org/toolchain@v0.0.1-go{version}.linux-amd64"],
                       capture_output=True, text=True, cwd="/", env=dict(os.environ, GOFLAGS="-mod=mod"))
    found = json.loads(p.stdout).get("Dir")
    if not found:
        sys.exit(f"go{version} cannot be had from the Go module proxy")
    found = pathlib.Path(found)
    # a module has no executable files
    for program in [*found.glob("bin/*"), *found.glob("pkg/tool/*/*")]:
        program.chmod(program.stat().st_mode | 0o111)
    return found


# by its files: 1.19 as a module of the proxy cannot build a package by its folder
def build(version, experiment, machine, folder):
    """The small program, by that Go."""
    root, minor = goroot(version), int(version.split(".")[1])
    folder = folder / f"go{version.replace('.', '_')}{experiment}"
    folder.mkdir()
    (folder / "main.go").write_text(PROGRAM[0])
    (folder / "more.go").write_text(PROGRAM[max(m for m in PROGRAM if m <= minor and m)])
    (folder / "go.mod").write_text(f"module layout\n\ngo 1.{minor}\n")
    env = dict(os.environ, GOTOOLCHAIN="local", CGO_ENABLED="0", GOFLAGS="-mod=mod", GO111MODULE="on", GOARCH=machine)
    if experiment: # 1.17 does not take an empty one
        env["GOEXPERIMENT"] = experiment
    if root:
        env.update(GOROOT=str(root), PATH=f"{root}/bin:{env['PATH']}")
    p = subprocess.run(["go", "build", "-o", "program", "main.go", "more.go"], cwd=folder, env=env, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"go{version} {experiment}: {p.stderr}")
    return folder / "program"


def dump(build_dir, program, *flags):
    p = subprocess.run([build_dir / "tests/programs/go_layout_dump", *flags, program], check=True, capture_output=True,
                       text=True)
    return [line.split() for line in p.stdout.splitlines()]


def write(columns):
    """@columns: for each the values by name."""
    lines = []
    for line in FIELDS.read_text().splitlines():
        m = re.match(r"GO_FIELD\((\w+), (\"[^\"]*\"),.*\)$", line)
        if m:
            values = ", ".join(c[m[1]].replace("-", "N") for c in columns)
            line = f"GO_FIELD({m[1]}, {m[2]}, {values})"
        lines.append(line)
    FIELDS.write_text("\n".join(lines) + "\n")


def write_differences(columns):
    """Those of arm64 that the other file does not have."""
    head, lines = ARM64.read_text().split("/* clang-format off */\n")[0], []
    for line in FIELDS.read_text().splitlines():
        m = re.match(r"GO_FIELD\((\w+), (\"[^\"]*\"), (.*)\)$", line)
        values = m and ", ".join(c[m[1]].replace("-", "N") for c in columns)
        if m and values != m[3]:
            lines.append(f"GO_FIELD({m[1]}, {m[2]}, {values})")
    ARM64.write_text(head + "/* clang-format off */\n\n" + "\n".join(lines) + "\n")


def main():
    build_dir, check = pathlib.Path(sys.argv[1]).resolve(), "--check" in sys.argv
    machine = "arm64" if "--arm64" in sys.argv else "amd64"
    wanted = [(v, x) for x, v in COLUMN.findall((SOURCE / "src/runtime/go/go_layout.c").read_text())]
    if check:
        wanted += [(v, "") for v in CHECKED if (v, "") not in wanted]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        programs = list(pool.map(lambda w: build(*w, machine, pathlib.Path(folder)), wanted))
        if not check:
            columns = [dict(dump(build_dir, p)) for p in programs]
            (write if machine == "amd64" else write_differences)(columns)
            return 0
        wrong = 0
        for (version, experiment), program in zip(wanted, programs):
            different = dump(build_dir, program, "-c")
            wrong += bool(different)
            print(f"go{version} {experiment}: {len(different)} differ")
            for name, real, table in different:
                print(f"    {name}: {real}, table {table}")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
