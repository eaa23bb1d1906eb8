"""One container, run by three runtimes.

    python examples/bundles.py

It is written as an OCI bundle once, and run here, by runc and by crun where they are installed.
"""

import json
import shutil
import tempfile

import pycontainer as pc
from pycontainer.oci import from_spec, run_bundle, write_bundle

box = pc.Container(
    [pc.host_system(), pc.tmpfs("/work", size="1m"), pc.file("/work/question", "6 * 7\n")],
    hostname="box",
    masked_paths=["/proc/keys"],
    capabilities=(),
)
script = 'echo "$(uname -n): $(cat /work/question)= $(($(cat /work/question)))"; wc -c < /proc/keys'

with tempfile.TemporaryDirectory() as folder:
    bundle = write_bundle(f"{folder}/bundle", box, ["sh", "-c", script])
    for runtime in ("native", "runc", "crun"):
        if runtime == "native" or shutil.which(runtime):
            print(runtime, end=": ", flush=True)
            said: list[bytes] = []
            done = run_bundle(bundle.path, runtime=runtime, log=said.append)
            print(b"".join(said).decode().replace("\n", " "), done.status)

    # A config.json that somebody has changed.
    with open(f"{bundle.path}/config.json") as file:
        spec = json.load(file)
    spec["hostname"] = "changed"
    print("changed:", from_spec(spec, bundle=bundle.path)[0].hostname)
    spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    try:
        from_spec(spec, bundle=bundle.path)
    except ValueError as error:
        print("refused:", error)
