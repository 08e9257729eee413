// SPDX-License-Identifier: Apache-2.0
// TopK.
#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "backend/cuda/kernels/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr std::int64_t kRunMax = 2048;  // entries that a block sorts: up to 32 KiB of shared memory
constexpr std::int64_t kThreadsMax = 1024;
constexpr unsigned kMergeThreads = 256;

// An element's place in the order and its index: the smaller entry comes first. All of a lane differ but those
// that fill up runs, which come last.
constexpr std::string_view kNarrowEntryText = R"cuda(
using Entry = unsigned long long;
__device__ __forceinline__ Entry entry_at(unsigned order, unsigned index) {
  return static_cast<Entry>(order) << 32 | index;
}
__device__ __forceinline__ Entry last_entry() { return ~0ull; }
__device__ __forceinline__ unsigned index_of(Entry entry) { return static_cast<unsigned>(entry); }
)cuda";

constexpr std::string_view kWideEntryText = R"cuda(
struct Entry { unsigned long long order; unsigned long long index; };
__device__ __forceinline__ bool operator<(const Entry& a, const Entry& b) {
  return a.order < b.order || (a.order == b.order && a.index < b.index);
}
__device__ __forceinline__ Entry entry_at(unsigned long long order, unsigned index) {
  return {order, index};
}
__device__ __forceinline__ Entry last_entry() { return {~0ull, ~0ull}; }
__device__ __forceinline__ unsigned index_of(Entry entry) {
  return static_cast<unsigned>(entry.index);
}
)cuda";

// A block sorts a run of kRun entries of a lane and hands on the first kKept.
constexpr std::string_view kSortRunText = R"cuda(
template <typename Source, typename Sink>
__device__ void sort_run(Source source, Sink sink) {
  __shared__ Entry entries[kRun];
  const unsigned lane = blockIdx.x / kRuns;
  const unsigned run = blockIdx.x % kRuns;
  for (unsigned i = threadIdx.x; i < kRun; i += kThreads) {
    const unsigned at = run * kRun + i;
    entries[i] = at < kLength ? source(lane, at) : last_entry();
  }
  sort(entries, kRun);
  for (unsigned i = threadIdx.x; i < kKept; i += kThreads) sink(lane, run, i, entries[i]);
}
)cuda";

// Sorted runs of kRun entries become half as many, each of the first kMerged of two: an entry's place is its
// own run's plus how many of the other run come before it.
constexpr std::string_view kMergeText = R"cuda(
__device__ void merge_runs(const Entry* from, Entry* to) {
  const unsigned t = blockIdx.x * kThreads + threadIdx.x;
  if (t >= kEntries) return;
  const unsigned place = t % kRun;
  const unsigned run = t / kRun % kRuns;
  const unsigned lane = t / kRun / kRuns;
  const Entry entry = from[t];
  to += (static_cast<unsigned long long>(lane) * kMergedRuns + run / 2) * kMerged;
  unsigned before = 0;
  if ((run ^ 1) < kRuns) {
    const Entry* const other = from + (t - place) + (run % 2 == 0 ? kRun : 0) - (run % 2 == 0 ? 0 : kRun);
    unsigned end = kRun;
    while (before < end) {
      const unsigned middle = (before + end) / 2;
      // Those that fill up are equal: the left run's come first.
      const bool comes_first = run % 2 == 0 ? other[middle] < entry : !(entry < other[middle]);
      if (comes_first) before = middle + 1; else end = middle;
    }
  } else if (place + kRun < kMerged) {
    to[place + kRun] = last_entry();
  }
  if (place + before < kMerged) to[place + before] = entry;
}
)cuda";

struct Lanes {
  Shape shape;  // the dimensions but the axis
  std::size_t axis = 0;
  std::int64_t length = 0;
  std::int64_t k = 0;

  [[nodiscard]] std::int64_t count() const { return product(shape); }
};

Lanes lanes_of(const graph::TopK& op, const View& input) {
  Lanes lanes{input.shape, static_cast<std::size_t>(op.axis), 0, op.k};
  lanes.length = input.shape[lanes.axis];
  lanes.shape.erase(lanes.shape.begin() + op.axis);
  return lanes;
}

// Where an element of a lane lies.
std::string element_offset(const Lanes& lanes, const View& view, std::string_view lane,
                           std::string_view place) {
  std::string text = fmt::format("{} * {}ull", place, view.strides[lanes.axis]);
  std::string rest(lane);
  for (std::size_t dim = lanes.shape.size(); dim-- > 0;) {
    const std::int64_t stride = view.strides[dim < lanes.axis ? dim : dim + 1];
    if (lanes.shape[dim] == 1) continue;
    text += fmt::format(" + {} % {}u * {}ull", rest, lanes.shape[dim], stride);
    rest = fmt::format("{} / {}u", rest, lanes.shape[dim]);
  }
  return text;
}

bool is_wide(DataType type) {
  return element_bytes(type) == 8;
}
std::size_t entry_bytes(DataType type) {
  return is_wide(type) ? 16 : 8;
}

// A number as bits that rise with it; NaN above all, and both zeros the same.
std::string rising_bits(DataType type, std::string_view element) {
  if (is_floating(type)) {
    return fmt::format("rising({})", loaded(type, element));
  }
  const std::string_view bits = is_wide(type) ? "unsigned long long" : "unsigned";
  const std::string number = fmt::format("static_cast<{}>({})", bits, element);
  if (type == DataType::boolean) return fmt::format("({} != 0 ? 1u : 0u)", element);
  if (type == DataType::uint8 || type == DataType::uint16 || type == DataType::uint32 ||
      type == DataType::uint64) {
    return number;
  }
  return fmt::format("({} ^ {})", number, is_wide(type) ? "1ull << 63" : "1u << 31");
}

constexpr std::string_view kRisingText = R"cuda(
__device__ __forceinline__ unsigned rising(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return ~0u;
  return x == 0 ? 1u << 31 : bits >> 31 != 0 ? ~bits : bits | 1u << 31;
}
__device__ __forceinline__ unsigned long long rising(double x) {
  const unsigned long long bits = static_cast<unsigned long long>(__double_as_longlong(x));
  if (x != x) return ~0ull;
  return x == 0 ? 1ull << 63 : bits >> 63 != 0 ? ~bits : bits | 1ull << 63;
}
)cuda";

// A pass over all lanes: entries of the input or of the pass before become fewer, in longer runs.
struct Pass {
  std::int64_t length = 0;  // entries of a lane
  std::int64_t run = 0;     // in runs of so many
  std::int64_t runs = 0;
  std::int64_t kept = 0;  // of each run, or of two that are merged
};

Pass sort_pass(const Lanes& lanes, std::int64_t length) {
  std::int64_t run = 2;
  while (run < length && run < kRunMax) run *= 2;
  return {length, run, (length + run - 1) / run, std::min(lanes.k, run)};
}

class Writer {
 public:
  Writer(const graph::TopK& op, const CheckedStep& step, const std::string& name)
      : op_(op),
        step_(step),
        name_(name),
        input_(*step.arguments[0].view),
        lanes_(lanes_of(op, input_)) {}

  [[nodiscard]] Result<StepCode> code() &&;

 private:
  using Buffers = std::array<Operand, 2>;

  [[nodiscard]] std::string next_name() const {
    return kernel_name(fmt::format("{}_{}", name_, code_.calls.size()));
  }
  [[nodiscard]] std::string constants(const Pass& pass, std::int64_t threads) const;
  [[nodiscard]] std::string source(bool first) const;
  [[nodiscard]] std::string sink(bool last, const Pass& pass) const;
  [[nodiscard]] std::string output_text() const;
  void add(KernelSource kernel, std::vector<Operand> operands) {
    code_.calls.push_back({std::move(kernel), std::move(operands)});
  }
  void sort_runs(const Pass& pass, bool first, bool last, const Operand& from, const Operand& to);
  void merge_runs(const Pass& pass, const Operand& from, const Operand& to);
  void write_outputs(const Pass& pass, const Operand& from);
  [[nodiscard]] std::vector<Operand> with_outputs(std::vector<Operand> operands) const;
  [[nodiscard]] std::string output_parameters() const;

  const graph::TopK& op_;
  const CheckedStep& step_;
  const std::string& name_;
  const View& input_;
  Lanes lanes_;
  StepCode code_;
};

std::string Writer::constants(const Pass& pass, std::int64_t threads) const {
  return fmt::format(
      "constexpr unsigned kThreads = {}, kLength = {}, kRun = {}, kRuns = {}, "
      "kKept = {};\n{}{}",
      threads, pass.length, pass.run, pass.runs, pass.kept,
      is_wide(input_.type) ? kWideEntryText : kNarrowEntryText, kRisingText);
}

std::string Writer::source(bool first) const {
  if (!first) {
    return "[=](unsigned lane, unsigned at) {\n"
           "    return from[static_cast<unsigned long long>(lane) * kLength + at];\n  }";
  }
  const std::string element = fmt::format("in[{}]", element_offset(lanes_, input_, "lane", "at"));
  return fmt::format("[=](unsigned lane, unsigned at) {{\n    return entry_at({}{}, at);\n  }}",
                     op_.largest ? "~" : "", rising_bits(input_.type, element));
}

std::string Writer::output_parameters() const {
  std::string text;
  for (std::size_t i = 0; i < step_.outputs.size(); ++i) {
    text += fmt::format(", {}* out{}", stored_type(step_.outputs[i].tensor.view->type), i);
  }
  return text;
}

std::vector<Operand> Writer::with_outputs(std::vector<Operand> operands) const {
  for (const StepResult& output : step_.outputs) operands.push_back(output.tensor.operand);
  return operands;
}

// Of the lane's entry number `i`.
std::string Writer::output_text() const {
  std::string text = "    const unsigned index = index_of(entry);\n";
  for (std::size_t i = 0; i < step_.outputs.size(); ++i) {
    const View& view = *step_.outputs[i].tensor.view;
    const std::string value =
        step_.outputs[i].result == 0
            ? converted(input_.type, view.type,
                        fmt::format("in[{}]", element_offset(lanes_, input_, "lane", "index")))
            : "static_cast<long long>(index)";
    text +=
        fmt::format("    out{}[{}] = {};\n", i, element_offset(lanes_, view, "lane", "i"), value);
  }
  return text;
}

std::string Writer::sink(bool last, const Pass& pass) const {
  const std::string body =
      last ? output_text()
           : fmt::format(
                 "    to[(static_cast<unsigned long long>(lane) * {} + run) * {} + i] = "
                 "entry;\n",
                 pass.runs, pass.kept);
  return fmt::format("[=](unsigned lane, unsigned run, unsigned i, Entry entry) {{\n{}  }}", body);
}

void Writer::sort_runs(const Pass& pass, bool first, bool last, const Operand& from,
                       const Operand& to) {
  std::string kernel = next_name();
  const std::int64_t threads = std::clamp<std::int64_t>(pass.run / 2, 32, kThreadsMax);
  const std::string parameters =
      fmt::format("const {}* in{}{}", stored_type(input_.type), first ? "" : ", const Entry* from",
                  last ? output_parameters() : ", Entry* to");
  std::string text = fmt::format(
      "namespace {1}_code {{\n{0}{5}{6}"
      "extern \"C\" __global__ void __launch_bounds__({2}) {1}({3}) {{\n  sort_run({4}, {7});\n}}\n"
      "}}\n",
      constants(pass, threads), kernel, threads, parameters, source(first), kSortText, kSortRunText,
      sink(last, pass));
  std::vector<Operand> operands{step_.arguments[0].operand};
  if (!first) operands.push_back(from);
  if (last) {
    operands = with_outputs(std::move(operands));
  } else {
    operands.push_back(to);
  }
  const auto blocks = static_cast<unsigned>(lanes_.count() * pass.runs);
  add({std::move(kernel), std::move(text), blocks, static_cast<unsigned>(threads), 1},
      std::move(operands));
}

void Writer::merge_runs(const Pass& pass, const Operand& from, const Operand& to) {
  std::string kernel = next_name();
  const std::int64_t entries = lanes_.count() * pass.length;
  std::string text = fmt::format(
      "namespace {1}_code {{\n{0}"
      "constexpr unsigned kEntries = {3}, kMergedRuns = {4}, kMerged = kKept;\n{5}"
      "extern \"C\" __global__ void __launch_bounds__({2}) {1}(const Entry* from, Entry* to) {{\n"
      "  merge_runs(from, to);\n}}\n}}\n",
      constants(pass, kMergeThreads), kernel, kMergeThreads, entries, (pass.runs + 1) / 2,
      kMergeText);
  const auto blocks = static_cast<unsigned>((entries + kMergeThreads - 1) / kMergeThreads);
  add({std::move(kernel), std::move(text), blocks, kMergeThreads, 1}, {from, to});
}

// From the only run of each lane.
void Writer::write_outputs(const Pass& pass, const Operand& from) {
  std::string kernel = next_name();
  const std::int64_t threads = lanes_.count() * lanes_.k;
  const std::string parameters = fmt::format("const {}* in, const Entry* from{}",
                                             stored_type(input_.type), output_parameters());
  std::string text =
      fmt::format("namespace {}_code {{\n{}", kernel, constants(pass, kMergeThreads));
  text += thread_text(kernel, parameters, threads);
  text += fmt::format(
      "    const unsigned lane = t / {0}u;\n    const unsigned i = t % {0}u;\n"
      "    const Entry entry = from[lane * {1}ull + i];\n{2}}}\n}}\n",
      lanes_.k, pass.length, output_text());
  add({std::move(kernel), std::move(text), movement_blocks(threads), kMovementThreads, 1},
      with_outputs({step_.arguments[0].operand, from}));
}

Result<StepCode> Writer::code() && {
  Pass pass = sort_pass(lanes_, lanes_.length);
  // Merging two runs rounds their number up, so that later passes may have more entries than the first.
  const auto runs_max =
      static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(pass.runs)));
  const std::int64_t kept_entries = lanes_.count() * runs_max * pass.kept;
  if (kept_entries > std::numeric_limits<std::int32_t>::max()) {
    return fail(ErrorKind::invalid_input,
                fmt::format("TopK of {} lanes of {} elements; use smaller batches (batch_max)",
                            lanes_.count(), lanes_.length));
  }
  const std::size_t half =
      scratch_size(static_cast<std::size_t>(kept_entries) * entry_bytes(input_.type));
  Buffers buffers{scratch_at(0), scratch_at(half)};
  const auto swap = [&buffers] { std::swap(buffers[0], buffers[1]); };
  const bool cuts = lanes_.k <= kRunMax / 2;  // each pass at least halves the entries
  bool first = true;
  for (; cuts || first; first = false) {
    const bool last = pass.runs == 1;
    sort_runs(pass, first, last, buffers[0], buffers[1]);
    if (last) {
      code_.scratch_bytes = first ? 0 : 2 * half;
      return std::move(code_);
    }
    swap();
    pass = cuts ? sort_pass(lanes_, pass.runs * pass.kept)
                : Pass{pass.runs * pass.kept, pass.kept, pass.runs, 0};
  }
  while (pass.runs > 1) {
    pass.kept = std::min(2 * pass.run, lanes_.k);
    merge_runs(pass, buffers[0], buffers[1]);
    swap();
    const std::int64_t runs = (pass.runs + 1) / 2;
    pass = {runs * pass.kept, pass.kept, runs, 0};
  }
  write_outputs(pass, buffers[0]);
  code_.scratch_bytes = 2 * half;
  return std::move(code_);
}

}  // namespace

Result<StepCode> top_k_code(const graph::TopK& op, const CheckedStep& step,
                            const std::string& name) {
  if (step.outputs.empty() || product(step.outputs[0].tensor.view->shape) == 0) return StepCode{};
  return Writer(op, step, name).code();
}

}  // namespace takt::cuda
