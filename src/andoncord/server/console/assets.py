"""The console's stylesheet, scripts and icon, read once, addressed by their content."""

from hashlib import sha256
from importlib.resources import files
from typing import Final

import msgspec

MEDIA_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One static file. `address` changes when its content does, so browsers may keep it for ever."""

    name: str
    content: bytes
    media_type: str
    address: str


def load_assets() -> dict[str, Asset]:
    """Every file of `static/`, by name."""
    assets: dict[str, Asset] = {}
    for file in files("andoncord.server.console").joinpath("static").iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        if suffix not in MEDIA_TYPES:
            continue
        content = file.read_bytes()
        version = sha256(content).hexdigest()[:12]
        assets[file.name] = Asset(
            name=file.name, content=content, media_type=MEDIA_TYPES[suffix], address=f"/static/{file.name}?v={version}"
        )
    return assets
