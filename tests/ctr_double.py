"""A stand-in for containerd's `ctr`, run as a program: its state is the folder that `--address` names.

It answers as ctr 1.6 does (`version`, `plugins ls`, `images check`, `images import`, `content ls`), as far as
prewarm asks. Files in the folder make it misbehave: `down` (nobody answers), `full` (imports fail), `lies`
(an import says it is done and keeps no image), `platform` (the node's, instead of linux/amd64). Every command
line is a line of `calls`.
"""

import hashlib
import json
import sys
import tarfile
from pathlib import Path

ROW = "{:<70} {:<60} {:<72} {:<16} {:<20} {}"


def main(arguments: list[str]) -> int:
    """One call; the exit code."""
    options: dict[str, str] = {}
    while arguments and arguments[0].startswith("--"):
        name, equals, value = arguments.pop(0).partition("=")
        options[name] = value if equals else arguments.pop(0)
    folder = Path(options["--address"])
    if not folder.is_dir() or (folder / "down").exists():
        sys.stderr.write(f'ctr: failed to dial "{folder}": connection error: connection refused')
        return 1
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    return COMMANDS[" ".join(arguments[:2])](folder, arguments[2:]) or 0


def say(line: str) -> None:
    """One line of the answer."""
    sys.stdout.write(line + "\n")


def version(folder: Path, arguments: list[str]) -> None:
    say("Client:\n  Version:  1.6.20\n  Revision: x\n\nServer:\n  Version:  1.6.20\n  Revision: x\n")


def plugins(folder: Path, arguments: list[str]) -> None:
    own = folder / "platform"
    platform = own.read_text() if own.exists() else "linux/amd64"
    say("TYPE                            ID            PLATFORMS      STATUS")
    say("io.containerd.content.v1        content       -              ok")
    say(f"io.containerd.snapshotter.v1    overlayfs     {platform}    ok")
    say(f"io.containerd.snapshotter.v1    devmapper     {platform}    error")


def check(folder: Path, arguments: list[str]) -> None:
    if arguments[:1] == ["--snapshotter"]:
        del arguments[:2]
    wanted = {each.removeprefix("name==").strip('"') for each in arguments}
    say(ROW.format("REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED"))
    for name, image in images(folder).items():
        if not wanted or name in wanted:
            whole = complete(folder, image["digest"])
            status = "complete (3/3)" if whole else "incomplete (2/3)"
            unpacked = str(image["unpacked"]).lower()
            say(ROW.format(name, image["mediaType"], image["digest"], status, "1 B/1 B", unpacked))


def content(folder: Path, arguments: list[str]) -> None:
    for path in sorted((folder / "blobs").glob("*")):
        say(f"sha256:{path.name}")


def take(folder: Path, arguments: list[str]) -> int:
    (folder / "blobs").mkdir(exist_ok=True)
    if (folder / "full").exists():
        sys.stderr.write("ctr: write /var/lib/containerd: no space left on device")
        return 1
    index = None
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            data = file.read()
            if len(data) != entry.size:
                raise EOFError
            if entry.name == "index.json":
                index = json.loads(data)
            elif entry.name.startswith("blobs/"):
                (folder / "blobs" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    if index is None:
        sys.stderr.write("ctr: unrecognized image format")
        return 1
    if not (folder / "lies").exists():
        name(folder, index["manifests"])
    return 0


def name(folder: Path, entries: list[dict]) -> None:
    """Keep the images of an archive's index."""
    known = images(folder)
    for entry in entries:
        image = {"digest": entry["digest"], "mediaType": entry["mediaType"]}
        known[entry["annotations"]["io.containerd.image.name"]] = {
            **image,
            "unpacked": complete(folder, entry["digest"]),
        }
    (folder / "images.json").write_text(json.dumps(known))


def images(folder: Path) -> dict:
    path = folder / "images.json"
    return json.loads(path.read_text()) if path.exists() else {}


def complete(folder: Path, digest: str) -> bool:
    """Whether everything below a manifest is there; of an index, what there is of its manifests."""
    path = folder / "blobs" / digest.removeprefix("sha256:")
    if not path.exists():
        return False
    document = json.loads(path.read_bytes())
    if "manifests" in document:
        return any(complete(folder, each["digest"]) for each in document["manifests"])
    blobs = [document["config"], *document["layers"]]
    return all((folder / "blobs" / each["digest"].removeprefix("sha256:")).exists() for each in blobs)


COMMANDS = {
    "version": version,
    "plugins ls": plugins,
    "images check": check,
    "images import": take,
    "content ls": content,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
