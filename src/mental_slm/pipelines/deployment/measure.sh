#!/bin/sh
# Measures this bundle's models on an Android phone and writes what `kedro device-results` reads.
#
#   LLAMA_BENCH=.../llama-bench sh measure.sh results.json
#
#   LLAMA_BENCH   llama.cpp's llama-bench, built for Android (arm64); measures every GGUF file
#   NET_RUN       folder of the vendor's SDK with snpe-throughput-net-run for Android and its
#                 libraries; measures the compiled containers (optional)
#   SOC           which containers (default sm8750)
#   THREADS       CPU threads (default 4);  ADB  the adb program (default adb)
#
# The phone needs USB debugging, about twice the bundle's size of free space, and a cool start.
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
out=${1:-device_results.json}
adb=${ADB:-adb}
threads=${THREADS:-4}
soc=${SOC:-sm8750}
place=/data/local/tmp/mental-slm
[ -n "${LLAMA_BENCH:-}${NET_RUN:-}" ] || { echo "set LLAMA_BENCH or NET_RUN; see the top of this file" >&2; exit 2; }
"$adb" get-state >/dev/null || { echo "no phone: connect one and allow USB debugging" >&2; exit 2; }

ask() { "$adb" shell "$1" | tr -d '\r'; }
text() { printf '"%s"' "$(ask "$1" | head -n 1 | tr -d '"\\')"; }
number() { found=$(ask "$1" | tr -cd '0-9.' ); printf '%s' "${found:-null}"; }
digest() { sha256sum "$1" | cut -d ' ' -f 1; }

gguf_runs() {
  separator=
  [ -n "${LLAMA_BENCH:-}" ] || return 0
  "$adb" push "$LLAMA_BENCH" "$place/llama-bench" >&2
  ask "chmod 755 $place/llama-bench"
  for file in "$bundle"/gguf/*.gguf; do
    [ -f "$file" ] || continue
    "$adb" push "$file" "$place/model.gguf" >&2
    ask "cd $place && (LD_LIBRARY_PATH=. ./llama-bench -m model.gguf -p 128 -n 64 -r 3 -t $threads -o json > bench.json 2> bench.log &
      pid=\$!; peak=0
      while kill -0 \$pid 2>/dev/null; do
        now=\$(grep VmHWM /proc/\$pid/status 2>/dev/null | tr -cd 0-9); [ -n \"\$now\" ] && peak=\$now; sleep 0.1
      done; echo \$peak > peak)" >&2
    printf '%s{"file": "gguf/%s", "sha256": "%s", "peak_memory_kb": %s, "rows": ' \
      "$separator" "$(basename "$file")" "$(digest "$file")" "$(number "cat $place/peak")"
    ask "cat $place/bench.json"
    printf '}'
    separator=', '
    ask "rm $place/model.gguf"
  done
}

npu_runs() {
  separator=
  [ -n "${NET_RUN:-}" ] || return 0
  "$adb" push "$NET_RUN/." "$place/sdk" >&2
  for file in "$bundle/dlc/$soc"/*.dlc; do
    [ -f "$file" ] || continue
    "$adb" push "$file" "$place/model.dlc" >&2
    rate=$(ask "cd $place/sdk && LD_LIBRARY_PATH=. ADSP_LIBRARY_PATH=. ./snpe-throughput-net-run --container ../model.dlc --use_dsp --perf_profile burst --duration 10" |
      sed -n 's/.*[Tt]otal throughput[^0-9]*\([0-9.]*\).*/\1/p' | tail -n 1)
    printf '%s{"file": "dlc/%s/%s", "sha256": "%s", "runs_per_s": %s}' \
      "$separator" "$soc" "$(basename "$file")" "$(digest "$file")" "${rate:-null}"
    separator=', '
    ask "rm $place/model.dlc"
  done
}

ask "mkdir -p $place/sdk"
{
  printf '{"format": "mental-slm device results 1",\n "measured_at": "%s",\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  printf ' "manifest_sha256": "%s",\n' "$(digest "$bundle/manifest.json")"
  printf ' "device": {"maker": %s, "model": %s, "soc": %s, "android": %s, "memory_kb": %s},\n' \
    "$(text 'getprop ro.product.manufacturer')" "$(text 'getprop ro.product.model')" \
    "$(text 'getprop ro.soc.model')" "$(text 'getprop ro.build.version.release')" \
    "$(number 'grep MemTotal /proc/meminfo')"
  printf ' "battery_tenths_celsius_before": %s,\n' "$(number 'dumpsys battery | grep temperature')"
  printf ' "gguf": [%s],\n' "$(gguf_runs)"
  printf ' "npu": [%s],\n' "$(npu_runs)"
  printf ' "battery_tenths_celsius_after": %s}\n' "$(number 'dumpsys battery | grep temperature')"
} > "$out.tmp"
ask "rm -r $place"
mv "$out.tmp" "$out"
echo "$out: check it with  kedro device-results $out"
