#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a machine with a GPU does with the bundle that make gpu-bundle packs.
set -u -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'END'
./run.sh test RESULTS        the GPU tests and ONNX's node tests: counts, failures and the slowest tests here;
                             RESULTS gets gpu-tests.xml (JUnit), gpu-node-tests.json and the whole output as *.log
./run.sh sanitize RESULTS    takt's own kernels under compute-sanitizer: memcheck, then racecheck
./run.sh bench [OPTIONS]     bench/gpu.py, with these options
./run.sh serve               the pcb line on the GPU: its models are tuned, then boards judged; results in serve/
./run.sh inspect BOARDS RESULTS  judges a folder of boards ({id}_test.png, {id}_temp.png) in FP32 and in FP16;
                             RESULTS gets fp32.jsonl and fp16.jsonl, which models/compare.py compares
./run.sh takt ARGUMENTS      the program itself, such as: ./run.sh takt doctor

TAKT_CUDA_FOLDERS=FOLDER:FOLDER  where CUDA's and cuDNN's libraries (libnvrtc, libcudart, libcudnn) are, if the
                                 system's loader doesn't find them
PYTHON=python3                   for bench; it needs torch, torchvision and onnx
GTEST_FILTER, GTEST_TOTAL_SHARDS, GTEST_SHARD_INDEX   a part of the tests, as GoogleTest has them
Without a GPU everything is skipped and says so. Exit code: 0 nothing failed, 1 something did, 2 bad usage.
END
}

# Only takt's programs get its libraries: Python has its own.
libraries="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
with_libraries() {
  LD_LIBRARY_PATH="$libraries" TAKT_TEST_MODELS="$here/test-models" \
    TAKT_ONNX_NODE_TESTS="$here/onnx-node-tests" "$@"
}

results_folder() {
  if [ $# -ne 1 ]; then
    usage >&2
    exit 2
  fi
  mkdir -p "$1" && cd "$1" && pwd
}

# Says why nothing is done where takt finds no GPU that it can use.
has_gpu() {
  local said
  said=$(with_libraries "$here/bin/takt" doctor --cache "$here/serve/cache")
  if grep -q '^ok *cuda ' <<<"$said"; then return 0; fi
  echo "SKIPPED $1: no GPU that takt can use:"
  grep -A1 -E '^note +(gpu|cuda)' <<<"$said"
  return 1
}

# Times and outcomes of a log of GoogleTest's.
outcomes() {
  sed -nE 's/^\[ +(OK|FAILED|SKIPPED) +\] ([^ ,]+).* \(([0-9]+) ms\)$/\3 \1 \2/p' "$1"
}

suite() {
  local name=$1 results=$2 format=$3 log="$2/$1.log" code=0
  rm -f "$results/$name.$format"
  with_libraries "$here/bin/takt-$name" --gtest_output="$format:$results/$name.$format" \
    >"$log" 2>&1 || code=$?
  echo "== $name: exit code $code"
  outcomes "$log" | awk '{ n[$2]++; ms += $1 }
    END { printf "   %d passed, %d failed, %d skipped, %.1f s\n", n["OK"], n["FAILED"], n["SKIPPED"], ms / 1000 }'
  outcomes "$log" | awk '$2 == "FAILED" { print "   failed: " $3 }'
  grep -A1 ': Skipped$' "$log" | grep -vE ': Skipped$|^--$' | sort | uniq -c | sort -rn | head -5 |
    sed -E 's/^ *([0-9]+) /   skipped, \1 times: /'
  echo "   slowest:"
  outcomes "$log" | grep -v ' SKIPPED ' | sort -rn | head -10 | awk '{ printf "   %8.1f s  %s\n", $1 / 1000, $3 }'
  if [ ! -s "$results/$name.$format" ]; then
    echo "   it ended without a result; the end of $log:"
    tail -n 5 "$log"
    code=1
  fi
  [ "$code" -eq 0 ]
}

run_tests() {
  local results failed=0
  results=$(results_folder "$@") || exit 2
  if [ ! -d "$here/onnx-node-tests" ]; then tar -xf "$here/onnx-node-tests.tar" -C "$here" || exit 1; fi
  suite gpu-tests "$results" xml || failed=1
  suite gpu-node-tests "$results" json || failed=1
  return "$failed"
}

find_sanitizer() {
  local folder folders
  IFS=: read -ra folders <<<"${TAKT_CUDA_FOLDERS:-}"
  for folder in "${folders[@]}" /usr/local/cuda/lib64; do
    if [ -x "$folder/../bin/compute-sanitizer" ]; then
      echo "$folder/../bin/compute-sanitizer"
      return 0
    fi
  done
  command -v compute-sanitizer
}

# Without tests of whole models, which would mostly watch cuDNN, and of faults, which are there on purpose.
sanitize() {
  local results sanitizer tool failed=0
  results=$(results_folder "$@") || exit 2
  if ! sanitizer=$(find_sanitizer); then
    echo "SKIPPED sanitize: compute-sanitizer is neither in PATH nor in the folder bin beside one of TAKT_CUDA_FOLDERS"
    return 0
  fi
  has_gpu sanitize || return 0
  local filter='GpuSteps.*:GpuKernels.*:GpuCompute*:GpuMovement.*:GpuTopK.*:GpuSuppression.*:GpuResize.*:GpuPreprocess.*'
  for tool in memcheck racecheck; do
    echo "== $tool"
    local words=(--tool "$tool")
    # Tests ask the driver for what there isn't, on purpose.
    if [ "$tool" = memcheck ]; then words+=(--report-api-errors no); fi
    with_libraries "$sanitizer" "${words[@]}" --error-exitcode 1 --log-file "$results/$tool.log" \
      "$here/bin/takt-gpu-tests" --gtest_brief=1 --gtest_filter="${GTEST_FILTER:-$filter}" || failed=1
    tail -n 3 "$results/$tool.log"
  done
  return "$failed"
}

bench() {
  local python=${PYTHON:-python3}
  if ! command -v "$python" >/dev/null; then
    echo "bench: no program '$python'; name a Python that has torch, torchvision and onnx in PYTHON" >&2
    return 2
  fi
  "$python" "$here/bench/gpu.py" --python "$python" --programs "$here/bin" --libraries "$libraries" \
    --folder "$here/gpu-models" "$@"
}

# Every board gets its verdict from models, none from a fallback.
serve() {
  has_gpu serve || return 0
  cd "$here" && mkdir -p serve && rm -f serve/verdicts.jsonl
  with_libraries bin/takt serve serve.yaml --summary serve/summary.json || return 1
  local boards verdicts fallbacks
  boards=$(sed -n 's/^ *boards: //p' serve.yaml)
  verdicts=$(wc -l <serve/verdicts.jsonl)
  fallbacks=$(grep -c '"by_fallback":true' serve/verdicts.jsonl)
  echo "$boards boards, $verdicts verdicts, $fallbacks by fallback"
  [ "$verdicts" -eq "$boards" ] && [ "$fallbacks" -eq 0 ]
}

# With the models' other settings as they were packed.
inspect() {
  local boards results precision
  if [ $# -ne 2 ]; then
    usage >&2
    return 2
  fi
  boards=$(cd "$1" && pwd) || return 2
  results=$(results_folder "$2") || return 2
  has_gpu inspect || return 0
  cd "$here" || return 1
  for precision in fp32 fp16; do
    local models="inspect/models-$precision"
    rm -rf "$models" && mkdir -p inspect && cp -r models/repository "$models" || return 1
    sed -i -E "/cuda.precision/s/fp(16|32)/$precision/" "$models"/*/config.pbtxt
    echo "== $precision"
    with_libraries bin/takt inspect --config serve.yaml --input "$boards" --repository "$models" \
      --output "$results/$precision.jsonl" --summary "$results/$precision-summary.json" || return 1
  done
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  test) run_tests "$@" ;;
  sanitize) sanitize "$@" ;;
  bench) bench "$@" ;;
  serve) serve ;;
  inspect) inspect "$@" ;;
  takt) with_libraries "$here/bin/takt" "$@" ;;
  --help | -h) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
