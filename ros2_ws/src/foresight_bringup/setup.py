from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages, setup

package_name = "foresight_bringup"


def shared(*folders: str) -> Iterator[tuple[str, list[str]]]:
    """Every file below these folders, which are links to the checkout's own."""
    for folder in map(Path, folders):
        files = [file for file in sorted(folder.iterdir()) if file.is_file()]
        yield f"share/{package_name}/{folder}", [str(file) for file in files]
        inner = (each for each in sorted(folder.iterdir()) if each.is_dir())
        yield from shared(*(str(each) for each in inner if each.name != "__pycache__"))


setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        *shared("launch", "config", "models"),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="Foresight developers",
    maintainer_email="developers@foresight.example",
    description="Launch files, configuration, the shipped world model; all nodes in one process.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["stack = foresight_bringup.stack:main"]},
)
