// SPDX-License-Identifier: Apache-2.0
// What a model becomes for the device, at one batch size: steps on pieces of a few buffers, in the order in
// which they run. Made by lower() (lowering.h) on the CPU; nothing here needs a device.
// Thread-safe: plain values.
// Owns: plain values; constants are shared.
#pragma once

#include "core/tensor.h"
#include "graph/graph.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace takt::cuda {

// A tensor in a buffer: element (i0, i1, ...) is the one at offset + i0 * strides[0] + i1 * strides[1] + ...
struct View {
  int buffer = 0;           // index of Program::buffers
  std::int64_t offset = 0;  // in elements of `type`, from the buffer's begin
  DataType type = DataType::fp32;
  Shape shape;
  std::vector<std::int64_t> strides;  // of each dimension, in elements, not negative; 0: broadcast

  friend bool operator==(const View&, const View&) = default;
};

enum class BufferKind : std::uint8_t {
  arena,     // lies in the instance's arena, shares bytes with others
  constant,  // weights: the same for all instances, written once
  input,     // what the host copies or the preprocessing writes; not part of the arena
  output,    // what is copied back to the host; not part of the arena
};

struct Buffer {
  BufferKind kind{};
  std::size_t bytes = 0;
  // Of the arena.
  std::size_t arena_offset = 0;
  // Of constants: the elements and how they lie in the buffer. Elements of the buffer that the view doesn't
  // reach are 0.
  graph::ConstantPtr constant;
  View layout;
};

// An operator of a step on values: the step's inputs are values 0, 1, ...; what the ops compute comes behind
// them, in their order.
struct StepOp {
  graph::Operator op;
  std::vector<int> arguments;
  std::vector<graph::TensorType>
      results;  // as the graph says; where they are stored may round them
};

struct StepOutput {
  int value = 0;
  View view;
};

enum class StepKind : std::uint8_t {
  // Element-wise operators, each input broadcast to the first output's shape; views of all inputs have that
  // shape already. Without ops it is a copy that may convert the type.
  pointwise,
  // ops[0] is Conv, ConvTranspose or MatMul, its arguments the first two inputs and for convolutions perhaps a
  // third, the bias. Then at most one Binary add of another input (the residual) and at most one Unary, or the
  // Unary first: each takes the result of the op before it.
  contraction,
  // One operator of any other kind; or Softmax over the channels and the Conv of its result, of one output
  // channel and kernel 1, that gives their weighted mean: ops {Softmax, Conv} on inputs {x, weights}.
  single,
  // softmax(query * key * factor + biases) * value, in one kernel (kernels/attention.h): ops {MatMul, perhaps
  // Binary mul or div, up to two Binary add, Softmax over the last dimension, MatMul} on inputs {query
  // [...,N,D], key [...,D,M], value [...,M,E], perhaps the factor, the biases}. Each op takes the result of the
  // one before it first, then the next input; the last one's second argument is the value. All have the same
  // leading dimensions; views of the factor and of the biases have the scores' shape [...,N,M], and the
  // factor is the same for all scores of a head. No operand is transposed but by its strides; one output [...,N,E].
  attention,
};

struct Step {
  std::string name;  // of the ONNX node that it comes from; of several, the one that ends it
  StepKind kind{};
  std::vector<View> inputs;
  std::vector<StepOp> ops;
  std::vector<StepOutput> outputs;
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<View> inputs;   // as Graph::inputs
  std::vector<View> outputs;  // as Graph::outputs; dense, in the graph's types
  std::size_t arena_bytes = 0;
};

// Of a tensor of this shape, row by row.
[[nodiscard]] std::vector<std::int64_t> dense_strides(const Shape& shape);
// Of the pointer to the view's first element, where its buffer begins at a multiple of kArenaAlignment.
[[nodiscard]] std::size_t alignment_bytes(const View& view);
// "FP16[1,64,56,56]"; with strides where it isn't dense.
[[nodiscard]] std::string to_string(const View& view);

}  // namespace takt::cuda
