// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cudnn_problem.h"

#include "backend/cuda/compile/views.h"
#include "graph/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <ranges>
#include <string>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Unary;
using graph::UnaryKind;

// Engines load 16 bytes at once, none more. A promise of more would bind a kept plan to these very addresses.
constexpr std::size_t kAlignmentMax = 16;

std::unexpected<Error> refuse(std::string reason) {
  return fail(ErrorKind::invalid_input, std::move(reason));
}

std::int64_t product_of(std::span<const std::int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

// cuDNN tells the layout by the strides, also by those of dimensions with one element, which a view leaves
// open.
CudnnTensor tensor_of(const View& view, const DimensionOrder& order) {
  CudnnTensor tensor{view.type, view.shape, view.strides,
                     std::min(alignment_bytes(view), kAlignmentMax)};
  std::int64_t step = 1;
  for (const int dimension : std::views::reverse(order)) {
    const auto d = static_cast<std::size_t>(dimension);
    if (tensor.sizes[d] == 1) tensor.strides[d] = step;
    step = std::max(step, tensor.strides[d] * tensor.sizes[d]);
  }
  return tensor;
}

CudnnTensor image_of(const View& view) {
  const bool last = view.strides[1] == 1 || view.shape[1] == 1;
  return tensor_of(view, last ? channels_last(view.shape.size()) : row_order(view.shape.size()));
}

CudnnTensor matrix_of(const View& view) {
  return tensor_of(view, row_order(view.shape.size()));
}

// cuDNN broadcasts dimensions of one element; a stride of 0 it refuses.
View narrowed(View view) {
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.strides[i] == 0) view.shape[i] = 1;
  }
  return view;
}

// With dimensions of one element in front up to this rank.
std::optional<View> padded(const View& view, std::size_t rank) {
  if (view.shape.size() > rank) return std::nullopt;
  Shape shape(rank - view.shape.size(), 1);
  shape.insert(shape.end(), view.shape.begin(), view.shape.end());
  return reshaped(view, shape);
}

// Builds a problem: first the operands of the product, then what follows it, op by op.
class Writer {
 public:
  explicit Writer(const Step& step) : step_(step) {}

  Result<CudnnProblem> write() {
    if (Result<void> sound = check(); !sound) return std::unexpected(std::move(sound).error());
    Result<void> written = {};
    const graph::Operator& op = step_.ops.front().op;
    if (const auto* const conv = std::get_if<graph::Conv>(&op)) {
      written = write_convolution(CudnnProduct::convolution, conv->window);
    } else if (const auto* const transposed = std::get_if<graph::ConvTranspose>(&op)) {
      written = write_convolution(CudnnProduct::transposed_convolution, transposed->window);
    } else if (const auto* const matmul = std::get_if<graph::MatMul>(&op)) {
      written = write_matmul(*matmul);
    } else {
      return refuse(fmt::format("cuDNN has no product like {}", graph::describe(op)));
    }
    if (written) written = write_epilogue();
    if (!written) return std::unexpected(std::move(written).error());
    return std::move(problem_);
  }

 private:
  [[nodiscard]] const View& output() const { return step_.outputs.front().view; }
  [[nodiscard]] std::size_t operands() const { return step_.ops.front().arguments.size(); }

  Result<void> check() const;
  Result<void> write_convolution(CudnnProduct product, graph::Window window);
  Result<void> write_matmul(const graph::MatMul& matmul);
  Result<void> write_epilogue();
  Result<void> write_unary(const Unary& unary);

  CudnnArgument last() const {
    return {CudnnSource::result, static_cast<int>(problem_.pointwise.size())};
  }
  CudnnArgument scalar(float value) {
    problem_.scalars.push_back(value);
    return {CudnnSource::scalar, static_cast<int>(problem_.scalars.size()) - 1};
  }
  void binary(CudnnPointwiseKind kind, CudnnArgument other) {
    CudnnPointwise pointwise;
    pointwise.kind = kind;
    pointwise.arguments = {last(), other};
    problem_.pointwise.push_back(std::move(pointwise));
  }
  CudnnPointwise& unary(CudnnPointwiseKind kind) {
    CudnnPointwise pointwise;
    pointwise.kind = kind;
    pointwise.arguments = {last()};
    return problem_.pointwise.emplace_back(std::move(pointwise));
  }
  void hard_sigmoid(float alpha, float beta) {
    binary(CudnnPointwiseKind::mul, scalar(alpha));
    binary(CudnnPointwiseKind::add, scalar(beta));
    unary(CudnnPointwiseKind::relu).high = 1;
  }

  const Step& step_;
  CudnnProblem problem_;
};

Result<void> Writer::check() const {
  if (step_.kind != StepKind::contraction || step_.ops.empty() || step_.outputs.size() != 1 ||
      step_.outputs.front().value != static_cast<int>(step_.inputs.size() + step_.ops.size()) - 1) {
    return refuse("it is no contraction with one output, that of its last operator");
  }
  const std::vector<int>& arguments = step_.ops.front().arguments;
  const bool in_order =
      std::ranges::equal(arguments, std::views::iota(0, static_cast<int>(arguments.size())));
  if (!in_order || arguments.size() < 2 || arguments.size() > 3 ||
      arguments.size() > step_.inputs.size()) {
    return refuse("the product's operands are not the step's first inputs");
  }
  std::vector<const View*> views = {&output()};
  for (const View& input : step_.inputs) views.push_back(&input);
  for (const View* const view : views) {
    if (view->type != DataType::fp16 && view->type != DataType::bf16 &&
        view->type != DataType::fp32) {
      return refuse(fmt::format("cuDNN's tensors are FP16, BF16 or FP32 here, not {}",
                                takt::to_string(view->type)));
    }
    if (view->strides.size() != view->shape.size() ||
        std::ranges::any_of(view->shape, [](std::int64_t size) { return size < 1; })) {
      return refuse("a tensor is empty");
    }
  }
  return {};
}

Result<void> Writer::write_convolution(CudnnProduct product, graph::Window window) {
  const std::size_t rank = output().shape.size();
  if (rank < 3 || rank > 5 || window.kernel.size() != rank - 2) {
    return refuse("cuDNN's convolutions have one to three spatial dimensions");
  }
  // One dimension is a picture of one row.
  const auto as_image = [&](const View& view) -> std::optional<View> {
    if (rank != 3) return view;
    return reshaped(view, {view.shape[0], view.shape[1], 1, view.shape[2]});
  };
  for (std::size_t i = 0; i < step_.inputs.size(); ++i) {
    View view = narrowed(step_.inputs[i]);
    if (i == 2 && operands() == 3 && view.shape.size() == 1) {
      view = *reshaped(view, Shape{1, view.shape[0], 1});
      view.shape.resize(rank, 1);
      view.strides.resize(rank, 1);
    }
    if (i < 2 && view.shape != step_.inputs[i].shape) {
      return refuse("an operand of the product is broadcast");
    }
    std::optional<View> same_rank = padded(view, rank);
    std::optional<View> image = same_rank ? as_image(*same_rank) : std::nullopt;
    if (!image) return refuse("an input has other dimensions than the output");
    problem_.inputs.push_back(image_of(*image));
  }
  if (rank == 3) {
    for (auto* sizes : {&window.kernel, &window.strides, &window.dilations}) {
      sizes->insert(sizes->begin(), 1);
    }
    window.pads_begin.insert(window.pads_begin.begin(), 0);
    window.pads_end.insert(window.pads_end.begin(), 0);
  }
  problem_.product = product;
  problem_.window = std::move(window);
  problem_.output = image_of(*as_image(output()));
  return {};
}

// As [batch,rows,columns], the batch 1 where it is the same matrix for all. `folded`: the batch is part of the
// rows. None where strides can't say that.
std::optional<View> as_matrix(const View& view, std::int64_t batch, std::int64_t rows,
                              bool folded) {
  const std::size_t rank = view.shape.size();
  const std::int64_t own_batch = product_of(std::span(view.shape).first(rank - 2));
  const std::int64_t own_rows = view.shape[rank - 2];
  const std::int64_t columns = view.shape[rank - 1];
  if (own_batch != 1 && own_batch != batch) return std::nullopt;
  if (!folded || batch == 1) return reshaped(view, {own_batch, own_rows, columns});
  if (own_batch == 1 && own_rows == 1) return reshaped(view, {1, 1, columns});
  if (own_batch != batch || own_rows != rows) return std::nullopt;
  return reshaped(view, {1, batch * rows, columns});
}

Result<void> Writer::write_matmul(const graph::MatMul& matmul) {
  const std::size_t rank = output().shape.size();
  if (rank < 2 || operands() != 2) return refuse("cuDNN's matrix product has two operands");
  std::vector<View> views;
  for (const View& input : step_.inputs) {
    std::optional<View> view = padded(narrowed(input), rank);
    if (!view) return refuse("an input has more dimensions than the output");
    views.push_back(*std::move(view));
  }
  const auto swap_last = [&](View& view) {
    std::swap(view.shape[rank - 2], view.shape[rank - 1]);
    std::swap(view.strides[rank - 2], view.strides[rank - 1]);
  };
  if (matmul.transpose_a) swap_last(views[0]);
  if (matmul.transpose_b) swap_last(views[1]);
  views.push_back(output());

  const std::int64_t batch = product_of(std::span(output().shape).first(rank - 2));
  const std::int64_t rows = output().shape[rank - 2];
  const bool one_right_side = product_of(std::span(views[1].shape).first(rank - 2)) == 1;
  // One large product is better than many small ones.
  for (const bool folded : {true, false}) {
    if (folded && !one_right_side) continue;
    std::vector<CudnnTensor> matrices;
    for (std::size_t i = 0; i < views.size(); ++i) {
      const std::optional<View> matrix = as_matrix(views[i], batch, rows, folded && i != 1);
      if (!matrix) break;
      matrices.push_back(matrix_of(*matrix));
    }
    if (matrices.size() != views.size()) continue;
    problem_.product = CudnnProduct::matmul;
    problem_.output = std::move(matrices.back());
    matrices.pop_back();
    problem_.inputs = std::move(matrices);
    return {};
  }
  return refuse("the strides don't let the dimensions before the last two be one");
}

Result<void> Writer::write_epilogue() {
  if (operands() == 3) binary(CudnnPointwiseKind::add, {CudnnSource::input, 2});
  const int inputs = static_cast<int>(step_.inputs.size());
  for (std::size_t i = 1; i < step_.ops.size(); ++i) {
    const StepOp& op = step_.ops[i];
    const int before = inputs + static_cast<int>(i) - 1;
    if (const auto* const one = std::get_if<Unary>(&op.op);
        one != nullptr && op.arguments == std::vector{before}) {
      if (Result<void> written = write_unary(*one); !written) return written;
      continue;
    }
    const auto* const two = std::get_if<graph::Binary>(&op.op);
    if (two == nullptr || two->kind != graph::BinaryKind::add || op.arguments.size() != 2) {
      return refuse(fmt::format("cuDNN fuses no {} behind a product", graph::describe(op.op)));
    }
    const int other = op.arguments[0] == before ? op.arguments[1] : op.arguments[0];
    if ((op.arguments[0] != before && op.arguments[1] != before) || other < 0 || other >= inputs) {
      return refuse("an addition takes something else than the result before it and an input");
    }
    binary(CudnnPointwiseKind::add, {CudnnSource::input, other});
  }
  return {};
}

Result<void> Writer::write_unary(const Unary& op) {
  using Kind = CudnnPointwiseKind;
  switch (op.kind) {
    case UnaryKind::relu:
      unary(Kind::relu);
      return {};
    case UnaryKind::leaky_relu:
      unary(Kind::relu).slope = op.alpha;
      return {};
    case UnaryKind::clip: {
      CudnnPointwise& relu = unary(Kind::relu);
      relu.low = op.alpha;
      relu.high = op.beta;
      return {};
    }
    case UnaryKind::sigmoid:
      unary(Kind::sigmoid);
      return {};
    case UnaryKind::tanh:
      unary(Kind::tanh);
      return {};
    case UnaryKind::silu:
      unary(Kind::swish).alpha = op.alpha;
      return {};
    case UnaryKind::gelu:
      unary(Kind::gelu);
      return {};
    case UnaryKind::gelu_tanh:
      unary(Kind::gelu_tanh);
      return {};
    case UnaryKind::elu:
      unary(Kind::elu).alpha = op.alpha;
      return {};
    case UnaryKind::softplus:
      unary(Kind::softplus);
      return {};
    case UnaryKind::hard_sigmoid:
      hard_sigmoid(op.alpha, op.beta);
      return {};
    case UnaryKind::hard_swish: {
      const CudnnArgument x = last();
      hard_sigmoid(1.0F / 6, 0.5F);
      binary(Kind::mul, x);
      return {};
    }
    default:
      return refuse(fmt::format("cuDNN fuses no {} behind a product", graph::to_string(op.kind)));
  }
}

}  // namespace

Result<CudnnProblem> cudnn_problem(const Step& step) {
  return Writer(step).write();
}

std::optional<CudnnProblem> with_identity(const CudnnProblem& problem) {
  const auto is_bias = [&](const CudnnPointwise& op) {
    const CudnnArgument& added = op.arguments.back();
    return op.kind == CudnnPointwiseKind::add && added.source == CudnnSource::input &&
           problem.inputs[static_cast<std::size_t>(added.index)].sizes != problem.output.sizes;
  };
  if (problem.pointwise.size() > 1 || !std::ranges::all_of(problem.pointwise, is_bias)) return {};
  const bool has_gap =
      problem.output.strides[0] != product_of(problem.output.sizes) / problem.output.sizes[0];
  if (problem.product != CudnnProduct::matmul && has_gap) return {};
  CudnnProblem extended = problem;
  CudnnPointwise identity;
  identity.kind = CudnnPointwiseKind::identity;
  identity.arguments = {{CudnnSource::result, static_cast<int>(problem.pointwise.size())}};
  extended.pointwise.push_back(std::move(identity));
  return extended;
}

}  // namespace takt::cuda
