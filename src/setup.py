"""Builds the core as a ROS package; without colcon, pip builds it by the pyproject.toml above."""

from setuptools import find_packages, setup

package_name = "foresight"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(include=["foresight", "foresight.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="Foresight developers",
    maintainer_email="developers@foresight.example",
    description="The core of Foresight, in plain Python.",
    license="Apache-2.0",
    # no setup.cfg moves it to lib/foresight: a command belongs on PATH
    entry_points={"console_scripts": ["foresight = foresight.apps.cli:app"]},
)
