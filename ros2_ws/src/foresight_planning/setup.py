from setuptools import find_packages, setup

package_name = "foresight_planning"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="Foresight developers",
    maintainer_email="developers@foresight.example",
    description="The planning node of Foresight.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["planning = foresight_planning.node:main"]},
)
