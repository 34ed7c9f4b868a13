#!/usr/bin/env bash
# Sources ROS and the workspace, then runs `foresight launch` with the container's arguments.
set -eo pipefail
cd /opt/foresight
# shellcheck source=/dev/null
source ros2_ws/install/setup.bash
exec .venv/bin/foresight launch "$@"
