#!/usr/bin/env bash
# Builds the image and runs the rig for real: everything up and healthy, 10,000 records in and indexed, both sinks
# killed in mid-run without a loss, and an orderly stop under traffic within 30 s.
#   docker/test-rig.sh [--required]
# It takes a Docker engine that runs; else, as root, one that the scripts in ../shared/rig beside the checkout make
# (with stand-ins for the base images); else it says that the rig was not run and ends with 0, or with 1 if --required.
set -euo pipefail
cd "$(dirname "$0")"
rig=../../shared/rig
required=${1:-}
records=10000
export COMPOSE_PROJECT_NAME=hec-rig-test-$$ SINK_IMAGE=hec-kafka-sink:rig-test-$$
export SPLUNK_PORT=0 PROMETHEUS_PORT=0 # free ones: another rig may be running
export PRODUCER_RATE=300 # all the time, so that kill and stop always strike records in flight

say() { printf 'rig %3d s: %s\n' "$SECONDS" "$*"; }
fail() {
  say "FAILED: $*" >&2
  docker compose ps -a --format 'table {{.Service}}\t{{.State}}\t{{.Health}}\t{{.ExitCode}}' >&2 || true
  docker compose logs --tail 15 sink splunk topics producer >&2 || true
  exit 1
}
not_run() {
  printf '\n%s\n%s\n\n' "##### THE RIG WAS NOT RUN: $*" "##### docker/ is untested in this run." >&2
  [ "$required" != --required ] || exit 1
  exit 0
}

# ---- an engine

started_engine=
if [ -n "$required" ] && [ "$required" != --required ]; then
  echo "usage: docker/test-rig.sh [--required]" >&2
  exit 2
elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
  say "uses the engine that runs"
elif [ -x $rig/dockerd.sh ] && [ "$(id -u)" = 0 ]; then
  export RIG_HOME=${RIG_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/hec-rig}
  mkdir -p "$RIG_HOME"
  exec 9>"$RIG_HOME/lock"
  flock 9 # one run at a time on this engine
  bash $rig/install-docker.sh 9>&- || not_run "no Docker engine could be installed"
  # shellcheck source=/dev/null
  . "$RIG_HOME/env.sh"
  docker info >/dev/null 2>&1 || started_engine=yes
  bash $rig/dockerd.sh start 9>&- || not_run "the Docker engine does not start"
  # Even where the base images cannot be made, what was started is ended.
  trap '[ -z "$started_engine" ] || { bash $rig/dockerd.sh stop; bash $rig/dockerd.sh clean; } >/dev/null' EXIT
  WITH_PROM=1 bash $rig/make-base-images.sh 9>&- || not_run "the base images could not be made"
  say "uses an engine of its own"
else
  not_run "there is no Docker engine with compose here"
fi

# shellcheck disable=SC2329 # called by the trap
end() {
  docker compose --profile observability down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
  docker image rm "$SINK_IMAGE" >/dev/null 2>&1 || true
  [ -z "$started_engine" ] || { bash $rig/dockerd.sh stop && bash $rig/dockerd.sh clean; } >/dev/null || true
}
trap end EXIT

# ---- what is looked at

[ ! -d ../../shared/corpus ] || export LOGS=../../shared/corpus
feed() { docker compose run --rm --no-deps -T producer --records "$@" 2>/dev/null; }
audit() { # SECONDS LEAST
  docker compose run --rm --no-deps -T -v "$PWD/audit_rig.py:/audit_rig.py:ro" --entrypoint python producer /audit_rig.py "$@"
}

# ---- the run

docker compose build --quiet || fail "the image does not build"
layer=$(docker history --no-trunc --human=false --format '{{.Size}} {{.CreatedBy}}' "$SINK_IMAGE" | awk '/COPY \/opt\/venv/ {print $1}')
[ "$layer" -lt 120000000 ] || fail "the layer of the environment has $layer bytes"
say "image built, its environment is a layer of $((layer / 1000000)) MB"

docker compose up --detach --wait --wait-timeout 180 >/dev/null 2>&1 || fail "not everything came up healthy"
[ "$(docker compose ps -q sink | wc -l)" = 2 ] || fail "there are not two sinks"
say "everything is up and healthy"

feed $records || fail "the records were not written"
audit 60 $records || fail "not every record is in the index"
say "$records records in, all indexed"
docker compose exec -T sink hec-kafka-sink check >/dev/null || fail "hec-kafka-sink check finds something in the rig"

splunk=http://$(docker compose port splunk 8088)
ready() { curl -s --noproxy '*' --output /dev/null --write-out '%{http_code}' "http://$(docker compose port --index 1 sink 9099)/readyz"; }
wait_until_ready_says() { # STATUS
  local deadline=$((SECONDS + 60))
  until [ "$(ready)" = "$1" ]; do
    [ $SECONDS -lt $deadline ] || fail "/readyz says $(ready) and not $1"
    sleep 0.5
  done
}
curl -sSf --noproxy '*' -X PUT "$splunk/emulator/faults" -d '["busy"]' >/dev/null || fail "the emulator takes no fault"
wait_until_ready_says 503
[ "$(docker compose ps -q sink --status running | wc -l)" = 2 ] || fail "an outage of Splunk ended a sink"
curl -sSf --noproxy '*' -X PUT "$splunk/emulator/faults" -d '[]' >/dev/null
wait_until_ready_says 200
audit 60 $records || fail "the outage lost records"
restarts=$(docker compose ps -q sink | xargs docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' | sort -u)
[ "$restarts" = "healthy 0" ] || fail "the outage left the sinks $restarts"
say "Splunk refused everything for a while: /readyz turned red and green again, nothing restarted, nothing lost"

feed $records || fail "the records were not written"
docker compose kill -s KILL sink >/dev/null 2>&1 || fail "the sinks cannot be killed"
docker compose up --detach --no-deps --wait --wait-timeout 120 sink >/dev/null 2>&1 || fail "the killed sinks did not come up again"
say "both sinks killed under traffic, and up again"
audit 90 $((2 * records)) || fail "the kill lost records"
say "nothing lost by the kill"

feed $records || fail "the records were not written"
from=$(date +%s)
docker compose stop sink >/dev/null 2>&1
took=$(($(date +%s) - from))
codes=$(docker compose ps -aq sink | xargs docker inspect --format '{{.State.ExitCode}}' | tr '\n' ' ')
[ "$codes" = "0 0 " ] || fail "the sinks ended with $codes"
[ $took -lt 30 ] || fail "the stop took $took s"
say "stopped under traffic with $codes in $took s"
docker compose stop producer >/dev/null 2>&1
[ "$(docker inspect --format '{{.State.ExitCode}}' "$(docker compose ps -aq producer)")" = 0 ] || fail "the producer did not end in order"
docker compose --profile observability up --detach --no-deps --wait --wait-timeout 120 sink prometheus >/dev/null 2>&1 || fail "sinks or Prometheus did not come up"
audit 90 $((3 * records)) || fail "the stop lost records"
say "nothing lost by the stop"

prometheus="http://$(docker compose --profile observability port prometheus 9090)/api/v1"
deadline=$((SECONDS + 60))
until curl -sSf --noproxy '*' "$prometheus/query?query=count(up==1)" | grep -q '"2"\]'; do
  [ $SECONDS -lt $deadline ] || fail "Prometheus does not see two sinks"
  sleep 0.5
done
rules=$({ grep -rhE '^ *(- )?alert:' observability/prometheus || true; } | wc -l)
loaded=$(curl -sSf --noproxy '*' "$prometheus/rules" | { grep -o '"type":"alerting"' || true; } | wc -l)
[ "$rules" = "$loaded" ] || fail "Prometheus has loaded $loaded alert rules of $rules"
say "Prometheus sees both sinks and has $rules alert rules; all is well"
