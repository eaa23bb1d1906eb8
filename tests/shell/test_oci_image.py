"""Images of the OCI layout: layers, whiteouts, digests, machines."""

from __future__ import annotations

import gzip
import json
import os

import pytest

import pycontainer as pc
from pycontainer.shell import OciImage, SoftwareError, provide, shell_container

INDEX = "application/vnd.oci.image.index.v1+json"
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def files_of(software):
    return {
        os.path.relpath(os.path.join(parent, name), software.rootfs)
        for parent, _, names in os.walk(software.rootfs)
        for name in names
    }


@pytest.fixture
def system(tar_of, small_system):
    return tar_of(small_system)


def test_image_in_a_shell(layout, cache, system, tmp_path):
    directory = layout.index(
        layout.image(
            [gzip.compress(system)],
            {"Env": ["PATH=/usr/bin", "GREETING= and a variable"], "WorkingDir": "/srv"},
        )
    )
    software = provide(OciImage(directory), cache=cache)
    assert software.env == {"GREETING": " and a variable"}
    assert software.search_paths == {"PATH": ("/usr/bin",)}
    assert (software.cwd, software.label) == ("/srv", "image")
    box = shell_container(software, cwd=None)
    done = pc.run_command(box, ["greet"], stdout=pc.PIPE, text=True)
    assert done.stdout == "greeting from a file and a variable\n"


def test_layers_and_whiteouts(layout, cache, tar_of, system):
    layers = [
        system,
        tar_of([("opt/a/one", b"1"), ("opt/a/two", b"2"), ("opt/b/three", b"3")]),
        tar_of([("opt/a/.wh.one", b""), ("opt/b", None), ("opt/b/.wh..wh..opq", b"")]),
        gzip.compress(tar_of([("opt/b/four", b"4"), ("etc/greeting", b"of a layer")])),
    ]
    software = provide(OciImage(layout.index(layout.image(layers))), cache=cache)
    assert {one for one in files_of(software) if one.startswith("opt")} == {
        "opt/a/two",
        "opt/b/four",
    }
    with open(f"{software.rootfs}/etc/greeting") as file:
        assert file.read() == "of a layer"


def test_unpacked_once(layout, cache, system):
    directory = layout.index(layout.image([system]))
    first = provide(OciImage(directory), cache=cache)
    for blob in (layout.directory / "blobs/sha256").iterdir():
        if blob.read_bytes() == system:
            blob.unlink()  # nobody looks for it
    assert provide(OciImage(directory), cache=cache) == first


def test_image_for_this_machine(layout, cache, tar_of, system):
    other = layout.image([tar_of([("bin/other", b"")])])
    here = layout.image([system])
    index = layout.blob(
        {
            "schemaVersion": 2,
            "manifests": [
                {**other, "platform": {"os": "linux", "architecture": "s390x"}},
                {**other, "platform": {"os": "windows", "architecture": HERE}},
                {**here, "platform": {"os": "linux", "architecture": HERE}},
                {**other, "platform": {"os": "unknown", "architecture": "unknown"}},
            ],
        },
        INDEX,
    )
    software = provide(OciImage(layout.index(index)), cache=cache)
    assert "usr/bin/greet" in files_of(software)


def test_no_image_for_this_machine(layout, cache, system):
    image = layout.image([system], platform={"os": "linux", "architecture": "z80"})
    with pytest.raises(SoftwareError, match=f"no image in it is for linux/{HERE}"):
        provide(OciImage(layout.index(image)), cache=cache)


def test_several_images_by_name(layout, cache, tar_of, system):
    name = "org.opencontainers.image.ref.name"
    one = layout.image([system], annotations={name: "one"})
    two = layout.image([system, tar_of([("etc/two", b"")])], annotations={name: "two"})
    directory = layout.index(one, two)
    with pytest.raises(SoftwareError, match=r"name one: .*:NAME, of one, two"):
        provide(OciImage(directory), cache=cache)
    software = provide(OciImage(f"{directory}:two"), cache=cache)
    assert "etc/two" in files_of(software)
    assert software.label == "two"
    with pytest.raises(SoftwareError, match="no image of that name; there are one, two"):
        provide(OciImage(f"{directory}:three"), cache=cache)


@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
@pytest.mark.parametrize("change", ["flipped", "longer", "missing"])
def test_blobs_that_are_not_what_their_digests_say(layout, cache, system, which, change):
    manifest = layout.image([system], {"Env": ["A=B"]})
    directory = layout.index(manifest)
    document = json.loads(layout.path(manifest).read_text())
    victim = layout.path(
        {"manifest": manifest, "config": document["config"], "layer": document["layers"][0]}[which]
    )
    content = victim.read_bytes()
    if change == "missing":
        victim.unlink()
    elif change == "longer":
        victim.write_bytes(content + b"\n")
    else:
        victim.write_bytes(content[:-3] + b"   " if which != "layer" else content[:-3] + b"abc")
    message = "is missing" if change == "missing" else r"has the digest .* damaged or was changed"
    with pytest.raises(SoftwareError, match=message):
        provide(OciImage(directory), cache=cache)
    entries = f"{cache.directory}/oci-image"
    assert not os.path.exists(entries) or os.listdir(entries) == []


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "md5:0", "sha256:" + "g" * 64, 5])
def test_digests_that_are_none(layout, cache, digest):
    directory = layout.index({"mediaType": "", "digest": digest, "size": 5})
    with pytest.raises(SoftwareError, match="is no digest that an image may have"):
        provide(OciImage(directory), cache=cache)


@pytest.mark.parametrize("settings", [{"Env": 5}, {"Env": {"A": "b"}}, {"WorkingDir": ["/"]}, 5])
def test_settings_of_other_types(layout, cache, system, settings):
    """Whoever made the image may have written anything there."""
    layout.index(layout.image([system], settings))
    assert not provide(OciImage(layout.directory), cache=cache).env


@pytest.mark.parametrize(
    "entries", [5, {"a": 1}, [5], [{"annotations": "x"}], [{"platform": 5}], [{"digest": 5}]]
)
def test_an_index_of_other_types(layout, cache, entries):
    index = {"schemaVersion": 2, "manifests": entries}
    (layout.directory / "index.json").write_text(json.dumps(index))
    with pytest.raises(SoftwareError, match=r"is no digest|no image in it is for"):
        provide(OciImage(layout.directory), cache=cache)
    with pytest.raises(SoftwareError, match="there is no image of that name"):
        provide(OciImage(f"{layout.directory}:name"), cache=cache)


def test_lists_in_lists_without_an_end(layout, cache):
    (layout.directory / "index.json").write_text("[" * 200_000)
    with pytest.raises(SoftwareError, match="is no JSON"):
        provide(OciImage(layout.directory), cache=cache)


def test_layer_that_leads_out(layout, cache, tar_of, tmp_path):
    layer = tar_of([("usr", None), ("../../../outside", b"")])
    with pytest.raises(SoftwareError, match="leads out"):
        provide(OciImage(layout.index(layout.image([layer]))), cache=cache)
    assert list(tmp_path.rglob("outside")) == []


def test_layer_that_is_no_archive(layout, cache):
    with pytest.raises(SoftwareError, match="damaged or no tar archive"):
        provide(OciImage(layout.index(layout.image([b"nonsense" * 100]))), cache=cache)


def test_what_is_no_layout(tmp_path, cache):
    with pytest.raises(SoftwareError, match="is not a directory"):
        provide(OciImage(tmp_path / "absent"), cache=cache)
    with pytest.raises(SoftwareError, match=r"no index\.json; `skopeo copy"):
        provide(OciImage(tmp_path), cache=cache)
    (tmp_path / "index.json").write_text("nonsense")
    with pytest.raises(SoftwareError, match=r"index\.json is no JSON"):
        provide(OciImage(tmp_path), cache=cache)
    archive = tmp_path / "image.tar"
    archive.touch()
    with pytest.raises(SoftwareError, match="unpack it first: mkdir"):
        provide(OciImage(archive), cache=cache)
