"""A real program, built from its source in containers: twice, and by another runtime the same.

The source is that of zopfli, a compressor in C, as PyPI has it: give its archive as an argument, or
it is fetched.  The compiler is the host's, seen read-only; there is no network in the build.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pycontainer as pc
from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildRequest,
    DirectoryStore,
    MinMemory,
    build,
)

# The archive has the library alone; this makes it a program.
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "zopfli/zopfli.h"

int main(void)
{
    static unsigned char in[1 << 20];
    unsigned char *out = NULL;
    size_t length = 0;
    ZopfliOptions options;

    ZopfliInitOptions(&options);
    size_t given = fread(in, 1, sizeof(in), stdin);
    ZopfliCompress(&options, ZOPFLI_FORMAT_GZIP, in, given, &out, &length);
    return fwrite(out, 1, length, stdout) == length ? 0 : EXIT_FAILURE;
}
"""

SCRIPT = """
echo "gcc $(gcc -dumpversion), $(ls $source/src/zopfli/*.c | wc -l) files"
gcc $CFLAGS -I$source/src -c main.c $source/src/zopfli/*.c
mkdir -p out/bin out/lib
ar rcs out/lib/libzopfli.a *.o
gcc -o out/bin/zopfli main.o out/lib/libzopfli.a -lm
echo "compressed inside" | out/bin/zopfli | gzip -dc
"""


def fetch(directory: str) -> Path:
    """The archive, from the package index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory]
    command += ["--no-binary", ":all:", "zopfli==0.1.9"]
    # pip looks into a source for its name; with setuptools at hand it need not fetch that too.
    if subprocess.run([*command, "--no-build-isolation"], check=False, stderr=-3).returncode:
        subprocess.run(command, check=True)
    return Path(directory, "zopfli-0.1.9.zip")


def request_for(source: Path) -> BuildRequest:
    host = [path for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)]
    return BuildRequest(
        inputs={"zopfli": source},
        command_args=["/bin/sh", "-ec", SCRIPT],
        additional_files={"build/main.c": MAIN},
        environment_vars={"PATH": "/usr/bin:/bin", "source": "/inputs/zopfli", "CFLAGS": "-O1"},
        outputs=["build/out"],
        constraints=[MinMemory(64 << 20), *map(AvailableReadOnlyPath, host)],
        refscan_needles=["libm.so.6", "/inputs/zopfli", "never in there"],
    )


def main(archive: Path, directory: str) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(directory)
    request = request_for(Path(directory, "zopfli-0.1.9", "zopfli"))
    stores = [DirectoryStore(Path(directory, f"store-{number}")) for number in range(3)]
    first = build(request, stores[0], log=sys.stdout.buffer.write).outputs["build/out"]
    second = build(request, stores[1]).outputs["build/out"]
    print("the same twice:", first.hash == second.hash)
    if shutil.which("runc"):
        third = build(request, stores[2], runtime="runc").outputs["build/out"]
        print("the same by runc:", first.hash == third.hash)
    print("not run again:", build(request, stores[0]).cached)
    print("has in it:", ", ".join(first.references))
    done = pc.run_command(
        [pc.host_system(), pc.bind(first.path, "/opt/zopfli")],
        ["/opt/zopfli/bin/zopfli"],
        input=b"compressed outside" * 1000,
        stdout=pc.PIPE,
    )
    print(len(done.stdout), "bytes hold", len(gzip.decompress(done.stdout)))
    print("wrong in the store:", stores[0].verify())


def remove(directory: str) -> None:
    """What is in a store may be changed by nobody, until it is made so."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o755)
    shutil.rmtree(directory)


if __name__ == "__main__":
    place = tempfile.mkdtemp(prefix="example-build-")
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else fetch(place), place)
    finally:
        remove(place)
