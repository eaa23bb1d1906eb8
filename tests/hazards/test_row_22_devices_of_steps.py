"""Row 22, from inside: a step of root's makes a device file, and gets at the host's device by it.

It has CAP_MKNOD, as installing software takes, and no user namespace, in which the kernel would
not let it be opened.
"""

from __future__ import annotations

import pytest

from pycontainer import bind
from pycontainer.build import Step, run_step

pytestmark = pytest.mark.is_root

# /dev/fuse, which any process may open that gets at it.
SCRIPT = """
for place in /dev /dev/shm /tmp / /data; do
    mknod $place/device c 10 229 && echo made && (exec 3<>$place/device) && echo opened $place
done
echo x > /dev/null && head -c 4 /dev/zero | wc -c
"""


@pytest.mark.parametrize("runtime", ["native", "runc", "crun"])
def test_device_file_of_its_own(tmp_path, runtime):
    root = tmp_path / "root"
    for name in ("proc", "dev", "sys", "usr", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (tmp_path / "data").mkdir()
    step = Step(
        ["/bin/sh", "-c", SCRIPT],
        mounts=[bind("/usr"), bind(tmp_path / "data", "/data", writable=True)],
        env={"PATH": "/usr/bin"},
    )
    log: list[bytes] = []
    run_step(root, step, runtime=runtime, log=log.append, state=tmp_path / "state")
    lines = b"".join(log).decode().splitlines()
    assert lines.count("made") == 5, lines
    assert not [line for line in lines if line.startswith("opened")]
    assert "4" in lines  # those that it is given work
