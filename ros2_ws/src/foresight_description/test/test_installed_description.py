from pathlib import Path

import xacro
from ament_index_python.packages import get_package_share_directory

PROFILE = """
footprint_radius_m: 0.3
drive: {wheel_radius_m: 0.05, wheel_separation_m: 0.4}
camera: {x_m: 0.2, z_m: 0.5}
scan: {mount: {x_m: 0.1, yaw_deg: 90.0}}
"""


def test_installed_description_expands_for_a_profile(tmp_path: Path) -> None:
    profile = tmp_path / "robot.yaml"
    profile.write_text(PROFILE)
    file = Path(get_package_share_directory("foresight_description"), "urdf/robot.urdf.xacro")
    robot = xacro.process_file(str(file), mappings={"profile": str(profile)}).documentElement
    links = {link.getAttribute("name") for link in robot.getElementsByTagName("link")}
    assert {"base_link", "laser", "camera_optical_frame", "left_wheel"} <= links
