# Functions for scripts that need a running service. Source it; it wants `set -euo pipefail`.
# shellcheck shell=bash

# service_start DIR COMMAND… starts the service on a free port with its data under DIR, which must be empty,
# and waits until it is ready. It sets service_url and service_pid (of COMMAND, which may be a wrapper).
service_start() {
  service_dir=$1
  shift
  chmod 755 "$service_dir" # PostgreSQL runs as another user where we are root
  : >"$service_dir/stdout"
  # A process group of its own: an interrupt at the keyboard reaches the script, which then stops the service.
  set -m
  EOS_LISTEN=127.0.0.1:0 EOS_DATA_DIR="$service_dir/data" EOS_DATABASE_URL='' \
    "$@" >"$service_dir/stdout" 2>"$service_dir/stderr" </dev/null &
  service_pid=$!
  set +m
  service_url=
  local waited
  for ((waited = 0; waited < 1500; waited++)); do
    if ! kill -0 "$service_pid" 2>/dev/null; then
      echo "the service ended before it was ready:" >&2
      tail -n 20 "$service_dir/stderr" >&2
      wait "$service_pid" || true
      service_pid=
      return 1
    fi
    [ -n "$service_url" ] || service_url=$(sed -n 's/^eos-proxy answers on //p' "$service_dir/stdout")
    if [ -n "$service_url" ] && curl -fsS -o /dev/null "$service_url/readyz" 2>/dev/null; then
      return 0
    fi
    sleep 0.2
  done
  echo "the service was not ready after 5 minutes:" >&2
  tail -n 20 "$service_dir/stderr" >&2
  return 1
}

# service_stop stops the service as an operator would, and fails if it ends with an error or leaves a process.
service_stop() {
  [ -n "${service_pid:-}" ] || return 0
  local pid=$service_pid all target status=0 left=
  service_pid=
  all=$(descendants "$pid")
  # make waits for its child and passes its status on; what is to be told to stop is the child.
  target=$pid
  if [ "$(ps -o comm= -p "$pid" 2>/dev/null)" = make ]; then
    target=$(children "$pid" | head -n 1)
  fi
  kill -TERM "${target:-$pid}" 2>/dev/null || true
  wait "$pid" || status=$?
  for pid in $all; do
    # A zombie has ended; whoever started it has yet to ask.
    case "$(ps -o stat= -p "$pid" 2>/dev/null)" in
      '' | Z*) ;;
      *) left="$left $pid" ;;
    esac
  done
  if [ -n "$left" ]; then
    echo "the service left processes behind:" >&2
    # shellcheck disable=SC2086 # a list
    ps -o pid=,ppid=,args= -p $left >&2 || true
    return 1
  fi
  if [ "$status" -ne 0 ]; then
    echo "the service ended with status $status:" >&2
    tail -n 20 "$service_dir/stderr" >&2
    return 1
  fi
}

# children PID prints the processes that PID started.
children() {
  ps -A -o pid=,ppid= | awk -v parent="$1" '$2 == parent { print $1 }'
}

# descendants PID prints PID and every process below it.
descendants() {
  local child
  echo "$1"
  for child in $(children "$1"); do
    descendants "$child"
  done
}
