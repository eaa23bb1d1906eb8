"""See what starting a container would do, without starting it."""

import pycontainer as pc

container = pc.Container(
    [pc.bind("/srv/data", "/data"), pc.tmpfs("/scratch", size="64m")], hostname="box"
)
print(pc.explain(container), end="")
