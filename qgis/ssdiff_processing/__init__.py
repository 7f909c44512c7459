"""Pansharpening with ssdiff in QGIS Processing."""


def classFactory(iface):
    """What QGIS calls when it loads the plugin; `qgis_process` has no iface."""
    from .provider import Plugin
    return Plugin()
