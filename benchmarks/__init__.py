"""Measurements of pycontainer beside the least that the kernel asks for (``floor.c``)."""
