"""The provider: it has one algorithm and one setting, where the command is."""
from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithm import Pansharpen

SETTING = "SSDIFF_ENVIRONMENT"


class Provider(QgsProcessingProvider):
    def id(self): return "ssdiff"
    def name(self): return "ssdiff"
    def longName(self): return "Pansharpening with ssdiff"
    def loadAlgorithms(self): self.addAlgorithm(Pansharpen(environment))

    def load(self):
        words = "Python environment that ssdiff is installed in (a folder, or the command ssdiff-sharpen itself)"
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(Setting(self.name(), SETTING, words, "", valuetype=Setting.STRING))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self): ProcessingConfig.removeSetting(SETTING)


def environment():
    """The environment that the settings name."""
    return ProcessingConfig.getSetting(SETTING) or ""


class Plugin:
    provider = None

    def initProcessing(self):
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self): self.initProcessing()
    def unload(self): QgsApplication.processingRegistry().removeProvider(self.provider)
