// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/rows.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::ReduceKind;

constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kThreadsMax = 256;
constexpr std::int64_t kWarpRowMax = 1024;  // longer rows keep a block busy
constexpr std::int64_t kOwnRowMax =
    32;  // of rows side by side: what a thread keeps of one by itself
constexpr std::int64_t kRowsApart = 16;      // side by side, so that even two bytes each fill 32
constexpr std::int64_t kBlocksEnough = 264;  // two for each multiprocessor of a large GPU
constexpr std::int64_t kUnrolledMax = 8;
constexpr int kWidthMax = 8;

// How rows and their elements are given to threads. A short row belongs to some lanes of a warp, which keep
// it in registers: `width` neighbours each, then those of the next round. Otherwise a block has
// `rows_together` threads side by side, each at a row of its own, and `row_threads` that share each of these
// rows.
struct Layout {
  IndexSpace outer;
  IndexSpace inner;
  std::int64_t rows = 1;
  std::int64_t length = 1;
  bool lanes = false;
  int width = 1;
  std::int64_t rows_together = 1;
  std::int64_t row_threads = 1;

  // A thread's place among those of its row, and its row's place in the block.
  [[nodiscard]] const char* thread_of_row() const { return lanes ? "threadIdx.x" : "threadIdx.y"; }
  [[nodiscard]] const char* row_of_block() const { return lanes ? "threadIdx.y" : "threadIdx.x"; }
  // Elements that a thread takes, and whether some threads take fewer.
  [[nodiscard]] std::int64_t count() const {
    const std::int64_t round = row_threads * width;
    return (length + round - 1) / round * width;
  }
  [[nodiscard]] bool is_ragged() const { return length % (row_threads * width) != 0; }
};

IndexSpace part(const Shape& shape, std::span<const Access* const> accesses, std::size_t first) {
  IndexSpace space{shape, {}};
  for (const Access* access : accesses) {
    const auto begin = access->strides.begin() + static_cast<std::ptrdiff_t>(first);
    space.strides.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(shape.size()));
  }
  return space;
}

// In the order of the first tensor's strides, which is the one that is read most.
IndexSpace ordered_by_first(IndexSpace space) {
  std::ranges::reverse(space.strides);
  space = compacted(std::move(space));
  std::ranges::reverse(space.strides);
  return space;
}

std::int64_t power_of_two_up_to(std::int64_t value) {
  std::int64_t power = 1;
  while (2 * power <= value) power *= 2;
  return power;
}

bool divides_steps(int width, const IndexSpace& space, std::size_t tensor, std::size_t dims) {
  for (std::size_t dim = 0; dim < dims; ++dim) {
    if (space.shape[dim] > 1 && space.strides[tensor][dim] % width != 0) return false;
  }
  return true;
}

// Elements of a row that the tensor allows to be moved by one instruction, up to `most`.
int width_of(const Layout& layout, std::size_t tensor, const Access& access, int most) {
  if (layout.inner.strides[tensor].back() != 1) return 1;
  for (int width = most; width > 1; width /= 2) {
    const std::size_t bytes = element_bytes(access.type) * static_cast<std::size_t>(width);
    if (bytes > kAccessBytesMax || access.alignment == 0 || access.alignment % bytes != 0) continue;
    if (layout.inner.shape.back() % width != 0) continue;
    const std::size_t outer_dims = layout.outer.shape.size();
    const std::size_t inner_dims = layout.inner.shape.size() - 1;
    if (divides_steps(width, layout.outer, tensor, outer_dims) &&
        divides_steps(width, layout.inner, tensor, inner_dims)) {
      return width;
    }
  }
  return 1;
}

// Whether the tensor has elements of its own for each row and each of its elements.
bool is_whole(const Layout& layout, std::size_t tensor) {
  const auto moves = [tensor](const IndexSpace& space) {
    return std::ranges::any_of(space.strides[tensor], [](std::int64_t s) { return s != 0; });
  };
  return moves(layout.inner) && moves(layout.outer);
}

void give_rows_to_lanes(Layout& layout, std::span<const Access* const> accesses, bool along) {
  layout.lanes = true;
  if (along) {
    layout.width = kWidthMax;
    for (std::size_t i = 0; i < accesses.size(); ++i) {
      if (i != 0 && !is_whole(layout, i)) continue;
      layout.width = width_of(layout, i, *accesses[i], layout.width);
    }
    while (layout.row_threads < std::min(kWarp, layout.length / layout.width)) {
      layout.row_threads *= 2;
    }
  }
  layout.rows_together = kThreadsMax / layout.row_threads;
  while (layout.rows_together * layout.row_threads > kWarp &&
         layout.rows / layout.rows_together < kBlocksEnough) {
    layout.rows_together /= 2;
  }
}

// Neighbouring threads read neighbours: along the row where its elements lie side by side, and otherwise
// across rows.
Layout plan(const RowSpace& space, std::span<const Access* const> accesses) {
  Layout layout;
  layout.outer = ordered_by_first(part(space.outer, accesses, 0));
  layout.inner = ordered_by_first(part(space.inner, accesses, space.outer.size()));
  layout.rows = product(space.outer);
  layout.length = product(space.inner);
  const bool along = layout.inner.strides.front().back() <= layout.outer.strides.front().back() ||
                     layout.rows == 1;
  if (layout.length <= (along ? kWarpRowMax : kOwnRowMax)) {
    give_rows_to_lanes(layout, accesses, along);
    return layout;
  }
  if (!along) layout.rows_together = std::min(kWarp, power_of_two_up_to(layout.rows));
  if (layout.rows / layout.rows_together < kBlocksEnough / 2) {
    layout.rows_together = std::min(layout.rows_together, kRowsApart);
  }
  layout.row_threads =
      std::min(kThreadsMax / layout.rows_together, power_of_two_up_to(layout.length));
  return layout;
}

// Declares `name` as the tensor's offset at the place that `index` counts in the space.
std::string offset_text(const IndexSpace& space, std::size_t tensor, std::string_view name,
                        std::string_view index) {
  std::string sum;
  std::string rest(index);
  for (std::size_t dim = space.shape.size(); dim-- > 0;) {
    const std::int64_t stride = space.strides[tensor][dim];
    const std::string place = dim == 0 ? rest : fmt::format("{} % {}u", rest, space.shape[dim]);
    if (stride != 0) sum += fmt::format("{}({}) * {}ull", sum.empty() ? "" : " + ", place, stride);
    rest = fmt::format("{} / {}u", rest, space.shape[dim]);
  }
  return fmt::format("const unsigned long long {} = {};", name, sum.empty() ? "0" : sum);
}

// Lanes behind the last row compute it once more, so that only what is written asks for `inside`.
// "At least one block" leaves the compiler the registers for all loads of a thread at once; otherwise it
// spares them, and the loads wait for one another.
std::string head(const Layout& layout, std::string_view name, const std::string& parameters) {
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}, 1) {1}({2}) {{\n"
      "  const unsigned place = blockIdx.x * {3}u + {4};\n"
      "  const bool inside = place < {5}u;\n"
      "  const unsigned row = {6};\n",
      layout.rows_together * layout.row_threads, name, parameters, layout.rows_together,
      layout.row_of_block(), layout.rows,
      layout.lanes ? fmt::format("inside ? place : {}u", layout.rows - 1) : "place");
}

// A loop over the registers of lanes, `step` elements at a time.
std::string lanes_loop(const Layout& layout, int step, bool written, const std::string& body) {
  std::string text = fmt::format(
      "#pragma unroll\n  for (unsigned i = 0; i < {0}u; i += {1}u) {{\n"
      "    const unsigned j = (threadIdx.x + i / {2}u * {3}u) * {2}u + i % {2}u;\n",
      layout.count(), step, layout.width, layout.row_threads);
  if (layout.is_ragged()) text += fmt::format("    if (j >= {}u) continue;\n", layout.length);
  if (written) text += "    if (!inside) continue;\n";
  return text + body + "  }\n";
}

// A loop over the thread's elements of the row; `body` uses j and the offsets that it declares.
std::string loop(const Layout& layout, const std::string& body) {
  if (layout.lanes) return lanes_loop(layout, 1, false, body);
  const std::int64_t count = layout.count();
  if (count > kUnrolledMax) {
    return fmt::format("  for (unsigned j = {}; inside && j < {}u; j += {}u) {{\n{}  }}\n",
                       layout.thread_of_row(), layout.length, layout.row_threads, body);
  }
  return fmt::format(
      "#pragma unroll\n  for (unsigned i = 0; i < {}u; ++i) {{\n"
      "    const unsigned j = {} + i * {}u;\n    if (!inside || j >= {}u) continue;\n{}  }}\n",
      count, layout.thread_of_row(), layout.row_threads, layout.length, body);
}

// `variable` of the threads that share a row becomes that of all of them together.
std::string combine(const Layout& layout, std::string_view type, std::string_view variable,
                    const std::string& combined) {
  if (layout.row_threads == 1) return "";
  if (layout.lanes) {
    return fmt::format(
        "#pragma unroll\n  for (int lane = {3}; lane > 0; lane /= 2) {{\n"
        "    const {0} a = {1};\n    const {0} b = takt::of_lane(a, lane);\n    {1} = {2};\n  }}\n",
        type, variable, combined, layout.row_threads / 2);
  }
  return fmt::format(
      "  {{\n    __shared__ {0} parts[{1}][{2}];\n"
      "    parts[threadIdx.y][threadIdx.x] = {3};\n"
      "    for (unsigned half = {1} / 2; half > 0; half /= 2) {{\n"
      "      __syncthreads();\n"
      "      if (threadIdx.y < half) {{\n"
      "        const {0} a = parts[threadIdx.y][threadIdx.x];\n"
      "        const {0} b = parts[threadIdx.y + half][threadIdx.x];\n"
      "        parts[threadIdx.y][threadIdx.x] = {4};\n      }}\n    }}\n"
      "    __syncthreads();\n    {3} = parts[0][threadIdx.x];\n  }}\n",
      type, layout.row_threads, layout.rows_together, variable, combined);
}

KernelSource finish(const Layout& layout, std::string name, std::string text) {
  const std::int64_t blocks = (layout.rows + layout.rows_together - 1) / layout.rows_together;
  auto x = static_cast<unsigned>(layout.rows_together);
  auto y = static_cast<unsigned>(layout.row_threads);
  if (layout.lanes) std::swap(x, y);
  return {std::move(name), std::move(text), static_cast<unsigned>(blocks), x, y};
}

// What a type is summed in: integers in 64 bits.
DataType summed_as(DataType type) {
  if (is_floating(type)) return type;
  return type == DataType::uint64 ? type : DataType::int64;
}

// Roots and logarithms of integers are computed as real numbers.
DataType reduced_as(ReduceKind kind, DataType type) {
  const bool real =
      kind == ReduceKind::l2 || kind == ReduceKind::log_sum || kind == ReduceKind::log_sum_exp;
  return real && !is_floating(type) ? DataType::fp64 : summed_as(type);
}

std::string parameter(const Access& access, std::string_view name, bool written) {
  return fmt::format("{}{}* {}", written ? "" : "const ", stored_type(access.type), name);
}

// How a reduction begins, takes an element x, joins two parts a and b, and ends.
struct Reduction {
  std::string start;
  std::string taken;
  std::string joined;
  std::string ended;
};

// In numbers of `type`. log_sum_exp is not here: it needs the largest element first.
Reduction reduction(ReduceKind kind, DataType type, std::int64_t length) {
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  const std::string zero = literal(type, 0);
  const std::string sum = "a + b";
  switch (kind) {
    case ReduceKind::mean:
      return {zero, "sum + x", sum,
              fmt::format("sum / {}", literal(type, static_cast<double>(length)))};
    case ReduceKind::max:
      return {lowest(type), "(x != x || x > sum ? x : sum)", "(a != a || a > b ? a : b)", "sum"};
    case ReduceKind::min:
      return {highest(type), "(x != x || x < sum ? x : sum)", "(a != a || a < b ? a : b)", "sum"};
    case ReduceKind::prod:
      return {literal(type, 1), "sum * x", "a * b", "sum"};
    case ReduceKind::l1:
      return {zero,
              is_floating(type) ? fmt::format("sum + fabs{}(x)", f) : "sum + (x < 0 ? -x : x)", sum,
              "sum"};
    case ReduceKind::l2:
      return {zero, "sum + x * x", sum, fmt::format("sqrt{}(sum)", f)};
    case ReduceKind::sum_square:
      return {zero, "sum + x * x", sum, "sum"};
    case ReduceKind::log_sum:
      return {zero, "sum + x", sum, fmt::format("log{}(sum)", f)};
    case ReduceKind::sum:
    case ReduceKind::log_sum_exp:
      break;
  }
  return {zero, "sum + x", sum, "sum"};
}

std::string row_pointer(const Layout& layout, std::size_t tensor, const Access& access,
                        std::string_view name, std::string_view pointer, bool written) {
  return fmt::format("  {}\n  {}{}* const {}_row = {} + {}_begin;\n",
                     offset_text(layout.outer, tensor, fmt::format("{}_begin", name), "row"),
                     written ? "" : "const ", stored_type(access.type), name, pointer, name);
}

// What element() reads, for lanes: their elements of the row, in numbers of `type`.
std::string fetch(const Layout& layout, std::size_t tensor, const Access& access, DataType type,
                  std::string_view name) {
  if (!layout.lanes) return "";
  const int width = width_of(layout, tensor, access, layout.width);
  const std::string body = fmt::format(
      "    {0}\n"
      "    const auto elements = *reinterpret_cast<const takt::Elements<{1}, {2}>*>({3}_row + "
      "{3}_at);\n"
      "#pragma unroll\n    for (unsigned e = 0; e < {2}u; ++e) {{\n"
      "      {3}_held[i + e] = static_cast<{4}>({5});\n    }}\n",
      offset_text(layout.inner, tensor, fmt::format("{}_at", name), "j"), stored_type(access.type),
      width, name, computed_type(type), loaded(access.type, "elements.at[e]"));
  return fmt::format("  {} {}_held[{}];\n", computed_type(type), name, layout.count()) +
         lanes_loop(layout, width, false, body);
}

// The row's elements as x, one after the other, in numbers of `type`.
std::string element(const Layout& layout, std::size_t tensor, const Access& access, DataType type,
                    std::string_view name) {
  if (layout.lanes) {
    return fmt::format("    const {0} {1} = {1}_held[i];\n", computed_type(type), name);
  }
  return fmt::format("    {0}\n    const {1} {2} = static_cast<{1}>({3});\n",
                     offset_text(layout.inner, tensor, fmt::format("{}_at", name), "j"),
                     computed_type(type), name,
                     loaded(access.type, fmt::format("{0}_row[{0}_at]", name)));
}

// A loop that computes and writes y for each element of the row.
std::string write_row(const Layout& layout, std::size_t tensor, const Access& access,
                      const std::string& elements, std::string_view value) {
  const std::string at = "    " + offset_text(layout.inner, tensor, "y_at", "j") + "\n";
  const std::string y = stored(access.type, value);
  if (!layout.lanes) return loop(layout, elements + at + fmt::format("    y_row[y_at] = {};\n", y));
  const int width = width_of(layout, tensor, access, layout.width);
  const std::string store = fmt::format(
      "    takt::Elements<{0}, {1}> elements;\n#pragma unroll\n"
      "    for (unsigned e = 0; e < {1}u; ++e) elements.at[e] = y_held[i + e];\n"
      "    *reinterpret_cast<takt::Elements<{0}, {1}>*>(y_row + y_at) = elements;\n",
      stored_type(access.type), width);
  return fmt::format("  {} y_held[{}];\n", stored_type(access.type), layout.count()) +
         loop(layout, elements + fmt::format("    y_held[i] = {};\n", y)) +
         lanes_loop(layout, width, true, at + store);
}

std::string largest_of_row(const Layout& layout, const Access& input, DataType type) {
  const Reduction max = reduction(ReduceKind::max, type, 1);
  return fmt::format("  {} top = {};\n", computed_type(type), max.start) +
         loop(layout,
              element(layout, 0, input, type, "x") + "    top = x != x || x > top ? x : top;\n") +
         combine(layout, computed_type(type), "top", max.joined);
}

std::string store_result(const Layout& layout, const Access& output, std::string_view value) {
  return fmt::format("  if (inside && {} == 0) y_row[0] = {};\n", layout.thread_of_row(),
                     stored(output.type, value));
}

}  // namespace

KernelSource reduce_kernel(const ReduceRows& reduce, const std::string& step) {
  std::string name = kernel_name(step);
  const Access* const accesses[] = {&reduce.input, &reduce.output};
  const Layout layout = plan(reduce.space, accesses);
  const DataType type = reduced_as(reduce.kind, reduce.input.type);
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  Reduction how = reduction(reduce.kind, type, layout.length);
  std::string text =
      head(layout, name,
           parameter(reduce.input, "in", false) + ", " + parameter(reduce.output, "out", true));
  text += row_pointer(layout, 0, reduce.input, "x", "in", false);
  text += row_pointer(layout, 1, reduce.output, "y", "out", true);
  text += fetch(layout, 0, reduce.input, type, "x");
  if (reduce.kind == ReduceKind::log_sum_exp) {
    text += largest_of_row(layout, reduce.input, type);
    // Of nothing but -infinity the logarithm is that too; of +infinity likewise.
    text += fmt::format("  const {} shift = isinf(top) ? 0 : top;\n", computed_type(type));
    how.taken = fmt::format("sum + exp{}(x - shift)", f);
    how.ended = fmt::format("log{}(sum) + shift", f);
  }
  const bool saturates = is_floating(type) && !is_floating(reduce.output.type);
  if (saturates) {
    how.ended = fmt::format("takt::saturate<{}>({})", computed_type(reduce.output.type), how.ended);
  }
  text += fmt::format("  {} sum = {};\n", computed_type(type), how.start);
  text += loop(layout, element(layout, 0, reduce.input, type, "x") +
                           fmt::format("    sum = {};\n", how.taken));
  text += combine(layout, computed_type(type), "sum", how.joined);
  text += store_result(layout, reduce.output, how.ended) + "}\n";
  return finish(layout, std::move(name), std::move(text));
}

KernelSource arg_reduce_kernel(const ArgReduceRows& reduce, const std::string& step) {
  std::string name = kernel_name(step);
  const Access* const accesses[] = {&reduce.input, &reduce.output};
  const Layout layout = plan(reduce.space, accesses);
  const std::string_view as = computed_type(summed_as(reduce.input.type));
  const char better = reduce.maximum ? '>' : '<';
  const char first = reduce.last_of_equals ? '>' : '<';
  // The first NaN is larger and smaller than everything, as numpy has it.
  const auto beats = [&](std::string_view a, std::string_view b) {
    return fmt::format(
        "({1}.at < 0 || ({0}.at >= 0 && ({0}.value {2} {1}.value || "
        "({0}.value != {0}.value && {1}.value == {1}.value) || "
        "(({0}.value == {1}.value || ({0}.value != {0}.value && {1}.value != "
        "{1}.value)) && {0}.at {3} {1}.at))))",
        a, b, better, first);
  };
  std::string text = fmt::format("struct {}_found {{ {} value; long long at; }};\n", name, as);
  text += head(layout, name,
               parameter(reduce.input, "in", false) + ", " + parameter(reduce.output, "out", true));
  text += row_pointer(layout, 0, reduce.input, "x", "in", false);
  text += row_pointer(layout, 1, reduce.output, "y", "out", true);
  text += fetch(layout, 0, reduce.input, summed_as(reduce.input.type), "x");
  text += fmt::format("  {0}_found best = {{0, -1}};\n", name);
  text += loop(layout, element(layout, 0, reduce.input, summed_as(reduce.input.type), "x") +
                           fmt::format("    const {}_found here = {{x, j}};\n"
                                       "    if {} best = here;\n",
                                       name, beats("here", "best")));
  text += combine(layout, name + "_found", "best", fmt::format("{} ? a : b", beats("a", "b")));
  text += store_result(layout, reduce.output, "best.at") + "}\n";
  return finish(layout, std::move(name), std::move(text));
}

KernelSource softmax_kernel(const SoftmaxRows& softmax, const std::string& step) {
  std::string name = kernel_name(step);
  const Access* const accesses[] = {&softmax.input, &softmax.output};
  const Layout layout = plan(softmax.space, accesses);
  const DataType type = summed_as(softmax.input.type);
  const std::string_view as = computed_type(type);
  const std::string x = element(layout, 0, softmax.input, type, "x");
  std::string text =
      head(layout, name,
           parameter(softmax.input, "in", false) + ", " + parameter(softmax.output, "out", true));
  text += row_pointer(layout, 0, softmax.input, "x", "in", false);
  text += row_pointer(layout, 1, softmax.output, "y", "out", true);
  text += fetch(layout, 0, softmax.input, type, "x");
  text += largest_of_row(layout, softmax.input, type);
  const std::string power = exponential(type, "x - top", element_bytes(softmax.output.type) == 2);
  text += fmt::format("  {} sum = 0;\n", as);
  text += loop(layout, x + fmt::format("    sum += {};\n", power));
  text += combine(layout, as, "sum", "a + b");
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  const std::string last = softmax.log ? fmt::format("log{}(sum)", f) : "1 / sum";
  text += fmt::format("  const {} last = {};\n", as, last);
  const std::string result = softmax.log ? "x - top - last" : power + " * last";
  text += write_row(layout, 1, softmax.output, x, result);
  return finish(layout, std::move(name), text + "}\n");
}

KernelSource softmax_mean_kernel(const SoftmaxMeanRows& mean, const std::string& step) {
  std::string name = kernel_name(step);
  const Access* const accesses[] = {&mean.input, &mean.weights, &mean.output};
  const Layout layout = plan(mean.space, accesses);
  const DataType type = summed_as(mean.input.type);
  const std::string_view as = computed_type(type);
  std::string text =
      head(layout, name,
           parameter(mean.input, "in", false) + ", " + parameter(mean.weights, "weights", false) +
               ", " + parameter(mean.output, "out", true));
  text += row_pointer(layout, 0, mean.input, "x", "in", false);
  text += row_pointer(layout, 1, mean.weights, "w", "weights", false);
  text += row_pointer(layout, 2, mean.output, "y", "out", true);
  text += fetch(layout, 0, mean.input, type, "x") + fetch(layout, 1, mean.weights, type, "w");
  text += largest_of_row(layout, mean.input, type);
  const std::string power = exponential(type, "x - top", element_bytes(mean.output.type) == 2);
  text += fmt::format("  {0} sum = 0;\n  {0} weighted = 0;\n", as);
  text += loop(layout, element(layout, 0, mean.input, type, "x") +
                           element(layout, 1, mean.weights, type, "w") +
                           fmt::format("    const {} power = {};\n    sum += power;\n"
                                       "    weighted += power * w;\n",
                                       as, power));
  text += combine(layout, as, "sum", "a + b") + combine(layout, as, "weighted", "a + b");
  text += store_result(layout, mean.output, "weighted / sum") + "}\n";
  return finish(layout, std::move(name), std::move(text));
}

KernelSource normalize_kernel(const NormalizeRows& normalize, const std::string& step) {
  std::string name = kernel_name(step);
  std::vector<const Access*> accesses{&normalize.input, &normalize.scale};
  if (normalize.bias) accesses.push_back(&*normalize.bias);
  accesses.push_back(&normalize.output);
  const std::size_t y = accesses.size() - 1;
  const Layout layout = plan(normalize.space, accesses);
  const DataType type = summed_as(normalize.input.type);
  const std::string_view as = computed_type(type);
  const std::string_view f = normalize.input.type == DataType::fp64 ? "" : "f";
  const std::string x = element(layout, 0, normalize.input, type, "x");
  std::string parameters = parameter(normalize.input, "in", false) + ", " +
                           parameter(normalize.scale, "scale", false) + ", ";
  if (normalize.bias) parameters += parameter(*normalize.bias, "bias", false) + ", ";
  std::string text = head(layout, name, parameters + parameter(normalize.output, "out", true));
  text += row_pointer(layout, 0, normalize.input, "x", "in", false);
  text += row_pointer(layout, 1, normalize.scale, "s", "scale", false);
  if (normalize.bias) text += row_pointer(layout, 2, *normalize.bias, "b", "bias", false);
  text += row_pointer(layout, y, normalize.output, "y", "out", true);
  text += fetch(layout, 0, normalize.input, type, "x");
  text += fetch(layout, 1, normalize.scale, type, "s");
  if (normalize.bias) text += fetch(layout, 2, *normalize.bias, type, "b");
  text += fmt::format("  {} mean = 0;\n", as) + loop(layout, x + "    mean += x;\n");
  text += combine(layout, as, "mean", "a + b");
  text += fmt::format("  mean /= {};\n  {} variance = 0;\n", layout.length, as);
  text += loop(layout, x + "    variance += (x - mean) * (x - mean);\n");
  text += combine(layout, as, "variance", "a + b");
  text += fmt::format(
      "  const {0} factor = static_cast<{0}>(1) / sqrt{1}(variance / {2} + "
      "static_cast<{0}>({3:.17g}));\n",
      as, f, layout.length, normalize.epsilon);
  std::string body = x + element(layout, 1, normalize.scale, type, "s");
  if (normalize.bias) body += element(layout, 2, *normalize.bias, type, "b");
  const std::string result = fmt::format("(x - mean) * factor * s{}", normalize.bias ? " + b" : "");
  text += write_row(layout, y, normalize.output, body, result);
  return finish(layout, std::move(name), text + "}\n");
}

}  // namespace takt::cuda
