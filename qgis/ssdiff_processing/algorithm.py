"""The algorithm "Pansharpen (ssdiff)": its parameters, and a run of the command."""
import shlex

from qgis.core import (
    QgsProcessingAlgorithm, QgsProcessingException, QgsProcessingParameterDefinition, QgsProcessingParameterEnum,
    QgsProcessingParameterNumber, QgsProcessingParameterRasterDestination, QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from . import runner

HELP = "\n\n".join((
    "Sharpens a multispectral image (MS) with a panchromatic one (PAN) of four times the resolution. "
    "The result lies on PAN's grid and has MS's bands, type and value for no data.",
    "SSDiff is a diffusion model that is first adapted to the scene, which takes some seconds or more. "
    "The other methods are classical ones and quick.",
    "Uncertainty, of SSDiff alone, is the standard deviation of several samples for each pixel and band; "
    "the result is then their mean.",
    "QGIS needs no PyTorch: the command ssdiff-sharpen of a Python environment does the work. "
    "Name that environment once in Settings > Options > Processing > Providers > ssdiff.",
))


class Pansharpen(QgsProcessingAlgorithm):
    def __init__(self, environment=lambda: ""):
        """environment() is the one that the settings name."""
        super().__init__()
        self.environment = environment

    def createInstance(self): return Pansharpen(self.environment)
    def name(self): return "pansharpen"
    def displayName(self): return "Pansharpen (ssdiff)"
    def group(self): return "Pansharpening"
    def groupId(self): return "pansharpening"
    def tags(self): return ["pansharpening", "pan-sharpening", "fusion", "resolution", "SSDiff"]
    def shortHelpString(self): return HELP

    def initAlgorithm(self, config=None):
        choose = dict(usesStaticStrings=True)
        add = self.addParameter
        add(QgsProcessingParameterRasterLayer("PAN", "Panchromatic image (PAN)"))
        add(QgsProcessingParameterRasterLayer("MS", "Multispectral image (MS)"))
        add(QgsProcessingParameterEnum("SENSOR", "Satellite", runner.SENSORS, defaultValue=runner.SENSORS[0], **choose))
        add(QgsProcessingParameterEnum("METHOD", "Method", runner.METHODS, defaultValue=runner.METHODS[0], **choose))
        ways = dict(options=runner.REGISTRATIONS, defaultValue=runner.REGISTRATIONS[0], **choose)
        add(QgsProcessingParameterEnum("REGISTRATION", "Move MS to where PAN lies", **ways))
        count = dict(type=QgsProcessingParameterNumber.Integer, defaultValue=8, minValue=2)
        self._add_advanced(QgsProcessingParameterNumber("SAMPLES", "Samples, if uncertainty is asked for", **count))
        words = "Additional options of ssdiff-sharpen (such as --adapt 0 --cog)"
        self._add_advanced(QgsProcessingParameterString("EXTRA", words, defaultValue="", optional=True))
        words = "Python environment of ssdiff (empty: the one of the settings)"
        self._add_advanced(QgsProcessingParameterString("ENVIRONMENT", words, defaultValue="", optional=True))
        add(QgsProcessingParameterRasterDestination("OUTPUT", "Sharpened"))
        more = dict(optional=True, createByDefault=False)
        add(QgsProcessingParameterRasterDestination("UNCERTAINTY", "Uncertainty", **more))

    def _add_advanced(self, parameter):
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(parameter)

    def processAlgorithm(self, parameters, context, feedback):
        try: return self._run(parameters, context, feedback)
        except runner.Failed as e: raise QgsProcessingException(str(e)) from e

    def _run(self, parameters, context, feedback):
        text = lambda name: self.parameterAsString(parameters, name, context)
        chosen = lambda name: self.parameterAsEnumString(parameters, name, context)
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        uncertainty = ""
        if parameters.get("UNCERTAINTY"): uncertainty = self.parameterAsOutputLayer(parameters, "UNCERTAINTY", context)
        line = runner.command_line(
            runner.find_command(text("ENVIRONMENT") or self.environment()),
            *(self._file(parameters, name, context) for name in ("PAN", "MS")), out, chosen("SENSOR"), chosen("METHOD"),
            register=chosen("REGISTRATION"), uncertainty=uncertainty,
            samples=self.parameterAsInt(parameters, "SAMPLES", context), extra=text("EXTRA"),
        )
        feedback.pushCommandInfo(shlex.join(line))

        def progress(what, share):
            if not share: feedback.setProgressText(f"{what} ...")
            feedback.setProgress(100*share)
        found = runner.run(line, progress, feedback.pushConsoleInfo, feedback.isCanceled)
        if found is None: return {}
        for said in runner.summary(found): feedback.pushInfo(said)
        return {"OUTPUT": out, **({"UNCERTAINTY": uncertainty} if uncertainty else {})}

    def _file(self, parameters, name, context):
        """The file of a layer, which another program can open."""
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None: raise QgsProcessingException(self.invalidRasterError(parameters, name))
        if layer.providerType() != "gdal":
            raise runner.Failed(f"{layer.name()} is no raster file; save it as a GeoTIFF first.")
        return layer.source()
