"""Many containers at once: calls may come from any thread."""

from concurrent.futures import ThreadPoolExecutor

import pycontainer as pc


def isolated(number: int) -> int:
    return pc.call_with_container([], lambda: number * number)


with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(isolated, range(10))))
