"""Give the container a Python: imports while the function runs, and programs of its own."""

import pycontainer as pc


def main() -> str:
    import subprocess
    import sys
    import xml.etree.ElementTree

    document = xml.etree.ElementTree.fromstring("<a><b/></a>")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print('process', os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return f"{document.tag} holds {document[0].tag}; {child.stdout.strip()}"


print(pc.call_with_container([pc.host_python()], main))
