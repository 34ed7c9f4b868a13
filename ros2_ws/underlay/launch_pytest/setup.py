from setuptools import find_packages, setup

package_name = "launch_pytest"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    entry_points={"pytest11": ["launch_pytest = launch_pytest.plugin"]},
    zip_safe=True,
    maintainer="Foresight developers",
    maintainer_email="developers@foresight.example",
    description="The part of ROS 2's launch_pytest that Foresight uses, for machines without ROS.",
    license="Apache-2.0",
)
