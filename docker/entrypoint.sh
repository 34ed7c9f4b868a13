#!/usr/bin/env bash
# Process 1 of a container: checks what it was given, then runs `foresight ARGUMENTS...`.
#
# It waits instead of handing its process over. When process 1 ends, the kernel kills all others of
# the container at once; so a launch that crashed would take with it the node that brakes.
set -eo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root braking_s=5
child=

say() { printf 'foresight container: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# shellcheck disable=SC2329  # the trap calls it
stop() {
  [ -n "$child" ] || exit 130
  kill -INT "$child" 2>/dev/null || true
}

check_memory() {
  local folder=$XDG_STATE_HOME
  [ -w "$folder" ] ||
    fail "user $(id -u) may not write $folder, where the memory of places lies:" \
      "give the volume to this user, see docker/README.md"
  mountpoint -q "$folder" ||
    say "$folder is not on a volume: the robot forgets its places when this container is removed;" \
      "start it with -v foresight_memory:$folder"
}

# An image for a GPU must not compute on the CPU unseen.
check_provider() {
  local provider=auto
  [ "${GPU:-0}" = 0 ] || provider=cuda
  "$root/.venv/bin/python" "$root/docker/provider.py" "$provider" ||
    fail "this image is for a GPU, and has none: start it with --gpus all (a Jetson: --runtime" \
      "nvidia), check the driver, or allow the CPU with -e GPU=0"
}

# Sets `left` to the living processes whose parent this one is: process 1 inherits all orphans.
find_children() {
  local file line
  left=
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    # after the name, which may hold spaces: state, parent
    [[ ! ${line##*) } =~ ^[^Z]\ $$\  ]] || left+=" ${line%% *}"
  done
}

# What a crashed launch left behind brings the robot to rest and ends by itself.
wait_for_orphans() {
  local i left
  for ((i = 0; i < braking_s * 10; i++)); do
    find_children
    [ -n "$left" ] || return 0
    sleep 0.1
  done
  say "ending, although these processes still run:$left"
}

trap stop INT TERM HUP
# shellcheck source=/dev/null
source "$root/ros2_ws/install/setup.bash"
if [ "$1" = launch ]; then
  check_memory
  check_provider
fi

set -m  # else bash would make a process in the background deaf to SIGINT
# without a terminal, launch itself passes the interrupt on to its nodes
"$root/.venv/bin/foresight" "$@" </dev/null &
child=$!
status=0
wait "$child" || status=$?
# a signal ends the wait, not the child
while kill -0 "$child" 2>/dev/null; do
  status=0
  wait "$child" || status=$?
done
wait_for_orphans
exit "$status"
