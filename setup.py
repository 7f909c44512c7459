"""Installs ssdiff with what settings.ini says; nothing is stated twice."""
from configparser import ConfigParser
from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=["="])
cfg.read("settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]

classifiers = [
    "Intended Audience :: Science/Research",
    "Topic :: Scientific/Engineering :: Image Processing",
    "License :: OSI Approved :: Apache Software License",
    *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12)),
]
entry_points = {
    "console_scripts": cfg.get("console_scripts", "").split("\n")[1:],
    "nbdev": [f'{cfg["lib_name"]}={cfg["lib_name"]}._modidx:d'],
}

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], keywords=cfg["keywords"],
    author=cfg["author"], author_email=cfg["author_email"], license="Apache-2.0",
    long_description=open("README.md", encoding="utf-8").read(), long_description_content_type="text/markdown",
    packages=find_packages(include=["ssdiff", "ssdiff.*"]),
    package_data={"ssdiff": ["tables/*.csv", "weights/*.safetensors", "weights/README.md", "*.cpp"]},
    classifiers=classifiers,
    python_requires=f'>={cfg["min_python"]}', install_requires=cfg["requirements"].split("\n")[1:],
    extras_require={extra: cfg[f"{extra}_requirements"].split("\n")[1:] for extra in ("dev", "dask", "onnx", "xarray")},
    entry_points=entry_points,
    zip_safe=False,
)
