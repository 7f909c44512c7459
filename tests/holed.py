"""Images with holes, said in every way there is."""
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

VRT = (
    '<VRTDataset rasterXSize="{w}" rasterYSize="{h}"><SRS>{crs}</SRS><GeoTransform>{place}</GeoTransform>'
    "{bands}</VRTDataset>"
)
BAND = (
    '<VRTRasterBand dataType="{kind}" band="{b}">{nodata}<SimpleSource><SourceFilename relativeToVRT="1">{name}'
    "</SourceFilename><SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
)
GDAL = {
    "uint8": "Byte",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}
INTEGER = (
    "nodata",
    "one band's nodata",
    "internal mask",
    "external mask",
    "alpha last",
    "alpha first",
    "mask and nodata",
    "alpha and nodata",
)
SOURCES = INTEGER + ("NaN", "NaN in one band")


def sources(dtype, bands):
    "The ways that an image of that type can have a hole."
    many = {"NaN in one band"} if bands == 1 else set()
    return [s for s in (INTEGER if np.dtype(dtype).kind in "iu" else SOURCES) if s not in many]


def write(path, image, hole, source, transform, hidden=0, crs="EPSG:32633"):
    "Write an image (B,h,w) with a hole (h,w); under it lies `hidden` wherever the way of saying so leaves room for it."
    path, x, profile, colours = Path(path), np.where(hole, hidden, image).astype(image.dtype), {}, None
    none = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else -9999
    half = np.arange(hole.size).reshape(hole.shape) % 2 == 0                       # for two ways at once: one half each
    if "nodata" in source:
        profile = dict(nodata=none)
        at = hole & half if " and " in source else hole
        x[:1 if "one band" in source else None, at] = none
    if "NaN" in source: x[:1 if "one band" in source else None, hole] = np.nan
    masked = hole & ~half if " and " in source else hole
    if "alpha" in source:
        top = 255 if image.dtype.itemsize == 1 else 1000
        x = np.insert(x, len(x) if "last" in source else 0, np.where(masked, 0, top), 0)
        colours = [ColorInterp.undefined]*len(x); colours[len(x) - 1 if "last" in source else 0] = ColorInterp.alpha
    for leftover in path.parent.glob(path.name + ".*"): leftover.unlink()
    shape = dict(count=len(x), height=x.shape[1], width=x.shape[2], dtype=x.dtype.name)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="external" not in source):
        with rasterio.open(
            path, "w", driver="GTiff", transform=transform, crs=crs, photometric="minisblack", **shape, **profile
        ) as d:
            if colours: d.colorinterp = colours
            d.write(x)
            if "mask" in source: d.write_mask(~masked)
    return str(path) if source != "one band's nodata" else _one_band(path, x, none, transform, crs)


def _one_band(path, x, none, transform, crs):
    "A VRT whose first band alone has that value; the others name another one."
    values = [none if b == 0 else none - 1 for b in range(len(x))]
    return write_vrt(path.with_suffix(".vrt"), path.name, x.shape[1:], [x.dtype.name]*len(x), transform, values, crs)


def write_vrt(path, of, size, dtypes, transform, nodata=None, crs="EPSG:32633"):
    "Another file's bands, of these types and with these values that mean no data."
    values = [f"<NoDataValue>{v}</NoDataValue>" for v in nodata] if nodata else [""]*len(dtypes)
    bands = "".join(
        BAND.format(kind=GDAL[t], b=b, name=of, nodata=v) for b, (t, v) in enumerate(zip(dtypes, values), 1)
    )
    place = ", ".join(map(str, transform.to_gdal()))
    Path(path).write_text(VRT.format(w=size[1], h=size[0], crs=crs, place=place, bands=bands))
    return str(path)
