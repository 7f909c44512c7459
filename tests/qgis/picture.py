"""Pictures of the algorithm's dialog, for docs/qgis.md: python3 tests/qgis/picture.py PAN.tif MS.tif ENVIRONMENT FOLDER

It needs the Python that QGIS is of, and no screen.
"""
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = ["/usr/share/qgis/python", "/usr/share/qgis/python/plugins", str(Path(__file__).parents[2]/"qgis")]
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer  # noqa: E402

pan, ms, environment, folder = sys.argv[1:]
app = QgsApplication([b""], True)
app.setStyle("Fusion")
app.initQgis()
from processing.core.Processing import Processing  # noqa: E402
from processing.gui.AlgorithmDialog import AlgorithmDialog  # noqa: E402
from ssdiff_processing import classFactory  # noqa: E402

Processing.initialize()
plugin = classFactory(None)
plugin.initProcessing()
layers = [QgsRasterLayer(path, name) for name, path in dict(PAN=pan, MS=ms).items()]
QgsProject.instance().addMapLayers(layers)
dialog = AlgorithmDialog(QgsApplication.processingRegistry().createAlgorithmById("ssdiff:pansharpen"))
asked = dict(PAN=layers[0].id(), MS=layers[1].id(), SENSOR="WV3", OUTPUT=f"{folder}/OUT.tif")
dialog.resize(980, 640)


def picture(name, **more):
    dialog.setParameters({**asked, **more})
    dialog.show()
    for _ in range(5): app.processEvents()
    dialog.grab().save(f"{folder}/{name}.png")


picture("qgis-dialog", METHOD="SSDiff")
dialog.setParameters({**asked, "METHOD": "MTF-GLP-FS", "ENVIRONMENT": environment})
dialog.runAlgorithm()
end = time.monotonic() + 300
while not dialog.wasExecuted() and time.monotonic() < end:
    app.processEvents()
    time.sleep(.05)
for _ in range(5): app.processEvents()
dialog.showLog()
app.processEvents()
dialog.grab().save(f"{folder}/qgis-log.png")
os._exit(0)  # without a main window QGIS does not end well
