// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/host_run.h"

#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/views.h"

#include <array>
#include <cstring>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Constant;

class HostRun {
 public:
  explicit HostRun(const Program& program)
      : program_(program), arena_(program.arena_bytes, std::byte{0xff}) {}

  Result<std::vector<Constant>> run(std::span<const Constant> inputs) {
    own_.resize(program_.buffers.size());
    for (std::size_t i = 0; i < program_.buffers.size(); ++i) {
      const Buffer& buffer = program_.buffers[i];
      if (buffer.kind == BufferKind::arena) continue;
      // What lies between the channels of an input is 0; elsewhere everything is written before it is read.
      const bool is_input = buffer.kind == BufferKind::input;
      own_[i].assign(buffer.bytes, is_input ? std::byte{0} : std::byte{0xff});
      if (buffer.kind != BufferKind::constant) continue;
      Result<std::vector<std::byte>> bytes = constant_bytes(buffer);
      if (!bytes) return std::unexpected(std::move(bytes).error());
      own_[i] = *std::move(bytes);
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) write(program_.inputs[i], inputs[i]);
    for (const Step& step : program_.steps) {
      if (Result<void> ran = run(step); !ran) {
        return std::unexpected(std::move(ran).error().within(step.name));
      }
    }
    std::vector<Constant> outputs;
    for (const View& view : program_.outputs) outputs.push_back(read(view));
    return outputs;
  }

 private:
  std::byte* memory(const View& view) {
    const auto index = static_cast<std::size_t>(view.buffer);
    const Buffer& buffer = program_.buffers[index];
    std::byte* const begin =
        buffer.kind == BufferKind::arena ? arena_.data() + buffer.arena_offset : own_[index].data();
    return begin + static_cast<std::size_t>(view.offset) * element_bytes(view.type);
  }

  template <typename F>
  static void for_each_element(const View& view, F f) {
    std::vector<std::int64_t> index(view.shape.size(), 0);
    std::int64_t offset = 0;
    const std::size_t count = element_count(view.shape).value();
    for (std::size_t i = 0; i < count; ++i) {
      f(i, static_cast<std::size_t>(offset));
      for (std::size_t d = index.size(); d-- > 0;) {
        offset += view.strides[d];
        if (++index[d] < view.shape[d]) break;
        offset -= view.strides[d] * view.shape[d];
        index[d] = 0;
      }
    }
  }

  Constant read(const View& view) {
    const std::size_t width = element_bytes(view.type);
    Constant constant{{view.type, view.shape},
                      std::vector<std::byte>(element_count(view.shape).value() * width)};
    const std::byte* const from = memory(view);
    for_each_element(view, [&](std::size_t i, std::size_t offset) {
      std::memcpy(constant.bytes.data() + i * width, from + offset * width, width);
    });
    return constant;
  }

  void write(const View& view, const Constant& constant) {
    const std::size_t width = element_bytes(view.type);
    std::byte* const to = memory(view);
    for_each_element(view, [&](std::size_t i, std::size_t offset) {
      std::memcpy(to + offset * width, constant.bytes.data() + i * width, width);
    });
  }

  static Result<Constant> cast(Constant constant, DataType type) {
    if (constant.type.type == type) return constant;
    const std::array<const Constant*, 1> inputs{&constant};
    Result<std::vector<Constant>> made = graph::evaluate(graph::Cast{type}, inputs);
    if (!made) return std::unexpected(std::move(made).error());
    return std::move(made->front());
  }

  // What is stored in 16 bits is computed in FP32, as on the device.
  static Result<Constant> widened(Constant constant) {
    const DataType type = constant.type.type;
    const bool is_short = type == DataType::fp16 || type == DataType::bf16;
    return cast(std::move(constant), is_short ? DataType::fp32 : type);
  }

  Result<void> run(const Step& step) {
    std::vector<Constant> values;
    for (const View& view : step.inputs) {
      Result<Constant> value = widened(read(view));
      if (!value) return std::unexpected(std::move(value).error());
      values.push_back(*std::move(value));
    }
    for (const StepOp& op : step.ops) {
      std::vector<const Constant*> arguments;
      for (const int argument : op.arguments) {
        arguments.push_back(&values[static_cast<std::size_t>(argument)]);
      }
      Result<std::vector<Constant>> results = graph::evaluate(op.op, arguments);
      if (!results) return std::unexpected(std::move(results).error());
      for (Constant& result : *results) {
        Result<Constant> value = widened(std::move(result));
        if (!value) return std::unexpected(std::move(value).error());
        values.push_back(*std::move(value));
      }
    }
    for (const StepOutput& output : step.outputs) {
      const Constant& value = values[static_cast<std::size_t>(output.value)];
      if (value.type.shape != output.view.shape) {
        return fail(ErrorKind::internal,
                    "computes " + graph::to_string(value.type) + " for " + to_string(output.view));
      }
      Result<Constant> stored = cast(value, output.view.type);
      if (!stored) return std::unexpected(std::move(stored).error());
      write(output.view, *stored);
    }
    return {};
  }

  const Program& program_;
  std::vector<std::byte> arena_;
  std::vector<std::vector<std::byte>> own_;  // of buffers that aren't in the arena
};

}  // namespace

Result<std::vector<Constant>> run_on_host(const Program& program,
                                          std::span<const Constant> inputs) {
  return HostRun(program).run(inputs);
}

}  // namespace takt::cuda
