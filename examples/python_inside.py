"""Give the container a Python: imports while the function runs, and programs of its own."""

import pycontainer as pc


def main() -> str:
    import subprocess
    import sys
    import xml.dom.minidom

    document = xml.dom.minidom.parseString("<a><b/></a>")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print('process', os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return f"{document.documentElement.tagName}, {child.stdout.strip()}"


print(pc.call_with_container([pc.host_python()], main))
