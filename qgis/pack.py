"""Packs the QGIS plugin into dist/ssdiff_processing.zip; the same files give the same bytes."""
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pack(zip_path):
    """Write the zip that QGIS installs."""
    plugin = Path(__file__).parent/"ssdiff_processing"
    files = {p.name: p for p in plugin.iterdir() if p.suffix in (".py", ".txt")} | {"LICENSE": ROOT/"LICENSE"}
    with zipfile.ZipFile(zip_path, "w", zipfile.ZIP_STORED) as z:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{plugin.name}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            z.writestr(entry, path.read_bytes())
    return zip_path


if __name__ == "__main__":
    (ROOT/"dist").mkdir(exist_ok=True)
    print(pack(ROOT/"dist/ssdiff_processing.zip"))
