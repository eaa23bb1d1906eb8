"""``from_spec(to_spec(c)) == c``, and every config.json is what OCI's own schema asks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, reject, settings

from pycontainer import Container, Mount
from pycontainer.oci import from_spec, to_spec

from .generated import COMMANDS, CONTAINERS

SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "oci-runtime-schema"
NO_SCHEMA = "the OCI runtime schema lies outside of the repository and is not here"


def spec_of(container, argv):
    """Its spec; one whose filter has too many cases for OCI is of no use."""
    try:
        return to_spec(container, argv)
    except ValueError as error:
        if "too many" not in str(error) and "the most is" not in str(error):
            raise
        reject()


@settings(max_examples=200, deadline=None)
@given(CONTAINERS, COMMANDS)
@example(Container([Mount("/a", "cgroup2")], namespaces={"mnt"}), ["true"])
def test_from_spec_is_the_inverse(container, argv):
    spec = spec_of(container, argv)
    assert from_spec(json.loads(json.dumps(spec))) == (container, argv)


@pytest.fixture(scope="module")
def schema() -> Any:
    """The published schema of a config.json."""
    if not SCHEMAS.is_dir():
        pytest.skip(NO_SCHEMA)
    import jsonschema
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    found = {
        file.name: DRAFT4.create_resource(json.loads(file.read_text()))
        for file in SCHEMAS.glob("*.json")
    }
    registry: Any = Registry().with_resources(found.items())
    return jsonschema.Draft4Validator({"$ref": "config-schema.json"}, registry=registry)


def test_generated_specs_are_valid(schema):
    @settings(max_examples=100, deadline=None)
    @given(CONTAINERS, COMMANDS)
    def check(container, argv):
        schema.validate(spec_of(container, argv))

    check()


def test_the_schema_refuses_what_is_wrong(schema):
    spec = to_spec(Container(), ["true"])
    spec["linux"]["uidMappings"][0]["size"] = "one"
    spec["process"]["args"] = "true"
    assert len(list(schema.iter_errors(spec))) == 2


def test_needs_no_compiled_helper():
    script = (
        "import sys; sys.modules['pycontainer._native._helper'] = None\n"
        "import pycontainer as pc, pycontainer.oci as oci\n"
        "print(oci.from_spec(oci.to_spec(pc.SANDBOX, ['x'])) == (pc.SANDBOX, ['x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr
